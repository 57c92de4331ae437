//! `--report`: a training, a [comparison] of some, or kernels under their [roofline], in a folder of charts, with a
//! summary to paste and a page to look at.
//!
//! What always holds: each file is written whole or not at all, and the page needs no other file.

mod axis;
mod chart;
pub mod comparison;
mod curves;
pub mod roofline;

use std::fmt::Write as _;
use std::path::Path;

use dualstep::Error;
use dualstep::files::write_atomically;
use dualstep::solvers::dladmm::Scores;

use super::Failure;
use super::text;
use super::train::{Entry, History};

/// The page that shows everything.
pub const PAGE: &str = "index.html";

/// Writes the report of a training into `folder`, which is made if it is not there. `facts` are names and values.
pub fn write(folder: &Path, facts: &[(&str, String)], history: &History) -> Result<(), Failure> {
    let curves = if history.entries().is_empty() { Vec::new() } else { curves::draw(history)? };
    let tables = vec![
        ("Settings", facts_table(facts)),
        ("Figures", facts_table(&figures(history))),
        ("Milestones", milestones_table(history)),
    ];
    Report { title: "A training", tables, curves }.write(folder)
}

/// What a folder is filled with.
struct Report {
    title: &'static str,
    tables: Vec<(&'static str, Table)>,
    curves: Vec<curves::Curve>,
}

impl Report {
    fn write(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(folder).map_err(|source| Error::Io {
            action: "create",
            path: folder.to_owned(),
            source,
        })?;
        let put = |name: &str, content: &str| {
            write_atomically(&folder.join(name), |out| out.write_all(content.as_bytes()))
                .map_err(Failure::from)
        };
        for curve in &self.curves {
            put(&format!("{}.svg", curve.name), &curve.svg)?;
        }
        put("summary.md", &self.summary())?;
        put(PAGE, &self.page())
    }

    fn summary(&self) -> String {
        let mut text = format!("# {}\n", self.title);
        for (title, table) in &self.tables {
            text += &format!("\n## {title}\n\n{}", table.markdown());
        }
        text += "\n## Charts\n\n";
        for curve in &self.curves {
            text += &format!("![{}]({}.svg)\n\n", curve.title, curve.name);
        }
        text
    }

    fn page(&self) -> String {
        let mut text = PAGE_START.replace("TITLE", self.title);
        for (title, table) in &self.tables {
            text += &format!("<h2>{title}</h2>\n{}", table.html());
        }
        text += "<h2>Charts</h2>\n<div class=\"curves\">\n";
        for curve in &self.curves {
            text += &format!("<figure>{}</figure>\n", curve.svg);
        }
        text + "</div>\n</body>\n</html>\n"
    }
}

/// The figures a training is remembered by: names and values.
pub fn figures(history: &History) -> Vec<(&'static str, String)> {
    let Some(last) = history.last() else { return vec![("iterations", "none finished".into())] };
    let mut figures =
        vec![("trained", format!("{} iterations in {:.1} s", last.record.iteration, last.seconds))];
    let finals = [("training data", last.record.train), ("test data", last.record.test)];
    let bests = [history.best(|record| record.train), history.best(|record| record.test)];
    for ((name, scores), best) in finals.into_iter().zip(bests) {
        let newest = scores.map_or_else(|| "not taken at the last iteration".into(), describe);
        let best = best.map_or_else(String::new, |(iteration, scores)| {
            format!("; best {} at iteration {iteration}", text::percent(scores.accuracy))
        });
        figures.push((name, newest + &best));
    }
    if let Some(projected) = last.projected {
        let test = projected.test.map_or("–".into(), describe);
        figures.push((
            "in its pattern",
            format!("{} on training data; {test} on test data", describe(projected.train)),
        ));
    }
    if let Some(update) = history.updates().last() {
        let (off, flips) = (update.largest(|it| it.off), update.largest(|it| it.flips));
        let text =
            format!("{off:.1e} of the norm; {:.2} % of the mask changed in the last update", 100.0 * flips);
        figures.push(("off the mask", text));
    }
    figures.push(("objective", format!("{:.6e}", last.record.objective)));
    if !last.record.residuals.is_empty() {
        figures.push(("residuals", format!("{:.3e} (sum of squares over all layers)", last.residual())));
    }
    figures
}

fn describe(scores: Scores) -> String {
    format!("accuracy {}, cost {:.4}", text::percent(scores.accuracy), scores.cost)
}

/// Rows of cells, the first row being the heading, the first column text and the others numbers.
pub struct Table(Vec<Vec<String>>);

fn facts_table(facts: &[(&str, String)]) -> Table {
    let rows = facts.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
    Table(std::iter::once(vec![String::new(), String::new()]).chain(rows).collect())
}

fn milestones_table(history: &History) -> Table {
    let heading =
        ["iteration", "seconds", "objective", "residuals", "train", "train cost", "test", "test cost", "ρ"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    rows.extend(history.milestones().map(milestone));
    Table(rows)
}

fn milestone(entry: &Entry) -> Vec<String> {
    let record = &entry.record;
    let score = |scores: Option<Scores>, show: fn(Scores) -> String| scores.map_or("–".into(), show);
    let accuracy = |scores: Scores| text::percent(scores.accuracy);
    let cost = |scores: Scores| format!("{:.4}", scores.cost);
    vec![
        record.iteration.to_string(),
        format!("{:.2}", entry.seconds),
        format!("{:.5e}", record.objective),
        format!("{:.3e}", entry.residual()),
        score(record.train, accuracy),
        score(record.train, cost),
        score(record.test, accuracy),
        score(record.test, cost),
        format!("{:e}", record.rho),
    ]
}

impl Table {
    /// As text that a terminal shows and a page takes.
    pub fn markdown(&self) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
        let numbers = self.0[0].len() - 1;
        let mut text = row(&self.0[0]);
        writeln!(text, "|---{} |", if numbers == 1 { "|---".into() } else { "|--:".repeat(numbers) })
            .expect("a string");
        self.0[1..].iter().for_each(|cells| text += &row(cells));
        text
    }

    fn html(&self) -> String {
        let numbers = if self.0[0].len() > 2 { " class=\"numbers\"" } else { "" };
        let mut text = format!("<table{numbers}>\n");
        for (k, cells) in
            self.0.iter().enumerate().filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty()))
        {
            let tag = if k == 0 { "th" } else { "td" };
            let cells: String =
                cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            text += &format!("<tr>{cells}</tr>\n");
        }
        text + "</table>\n"
    }
}

const PAGE_START: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2em auto; padding: 0 1em; }
h1, h2 { font-weight: 600; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: 2px 14px 2px 0; border-bottom: 1px solid #e4e4e4; }
.numbers th, .numbers td { text-align: right; font-variant-numeric: tabular-nums; }
.numbers :first-child { text-align: left; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: 1em; }
figure { margin: 0; }
svg { width: 100%; height: auto; }
</style>
</head>
<body>
<h1>TITLE</h1>
"#;

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::train::plausible;

    fn facts() -> Vec<(&'static str, String)> {
        vec![("adapter", "a <fast> & new one".into()), ("driver", "1.0".into())]
    }

    #[test]
    fn a_report_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/report");
        assert!(write(&path, &facts(), &plausible(60)).is_ok());
        let mut names: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected = [
            "accuracy.svg",
            "cost.svg",
            "exponents.svg",
            "index.html",
            "objective.svg",
            "residuals.svg",
            "summary.md",
        ];
        assert_eq!(names, expected);
        let page = std::fs::read_to_string(path.join(PAGE)).unwrap();
        assert!(page.contains("a &lt;fast&gt; &amp; new one") && page.matches("<svg").count() == 5);
    }

    #[test]
    fn a_training_without_iterations_has_a_report_too() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), &facts(), &History::default()).is_ok());
        assert!(std::fs::read_to_string(folder.path().join("summary.md")).unwrap().contains("none finished"));
    }

    #[test]
    fn tables_are_markdown() {
        let table = milestones_table(&plausible(3)).markdown();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2 + 3, "{table}");
        assert!(lines.iter().all(|line| line.matches('|').count() == 10), "{table}");
    }
}
