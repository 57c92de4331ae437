//! Every kernel by the clock, against what the device can do at most: `dualstep bench`, kept.

use anyhow::Result;

use super::Bench;

const NAME: &str = "kernels";
const CHARTS: [&str; 2] = ["roofline", "shares"];

/// Runs the study and writes its section.
pub fn run(bench: &Bench) -> Result<()> {
    let summary = bench.summary("bench", NAME, &[])?;
    for chart in CHARTS {
        bench.keep_chart(NAME, &format!("{chart}.svg"), &file(chart))?;
    }
    super::replace(NAME, &section(&summary))
}

/// The report's summary as a section among others.
fn section(summary: &str) -> String {
    let lines = summary.lines().map(|line| match line {
        "# Kernels measured" => "## Kernels against the device's ceilings".into(),
        "## Run" => {
            "Each operand counts once per direction, however often a kernel reads it; times are medians."
                .into()
        }
        line if line.starts_with("## ") => format!("#{line}"),
        line => CHARTS.iter().fold(line.to_owned(), |line, chart| {
            line.replace(&format!("({chart}.svg)"), &format!("(results/{})", file(chart)))
        }),
    });
    lines.map(|line| line + "\n").collect()
}

fn file(chart: &str) -> String {
    format!("{NAME}-{chart}.svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_becomes_a_section() {
        let summary =
            "# Kernels measured\n\n## Run\n\n| adapter | one |\n\n## Charts\n\n![Roofline](roofline.svg)\n";
        let section = section(summary);
        assert!(section.starts_with("## Kernels against"));
        assert!(section.contains("\n### Charts\n\n![Roofline](results/kernels-roofline.svg)\n"));
        assert!(!section.contains("## Run"));
    }
}
