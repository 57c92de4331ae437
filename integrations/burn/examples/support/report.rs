//! What the examples report: means and deviations over seeds, in a table of Markdown.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Mean and standard deviation over seeds, with so many decimals.
pub fn spread(values: &[f64], decimals: usize) -> String {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    // Of the population that the seeds are a sample of.
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
    if values.len() < 2 {
        return format!("{mean:.decimals$}");
    }
    format!("{mean:.decimals$} ± {deviation:.decimals$}")
}

/// A paragraph and a table below it: the names of its columns, then its rows.
pub struct Report {
    text: String,
}

impl Report {
    /// Begins with what was measured, and on what.
    pub fn new(conditions: &str, columns: &[&str]) -> Self {
        let mut report = Self { text: format!("{conditions}\n\n") };
        report.row(columns.iter().copied());
        let rules = std::iter::once("---").chain(columns.iter().skip(1).map(|_| "---:"));
        report.row(rules);
        report
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        for cell in cells {
            let _ = write!(self.text, "| {} ", cell.as_ref()); // writing to a string cannot fail
        }
        self.text.push_str("|\n");
    }

    /// Prints it, and writes it to a file if one was asked for.
    pub fn publish(&self, file: Option<&Path>) -> Result<(), Box<dyn Error>> {
        write!(std::io::stdout(), "\n{}", self.text)?;
        if let Some(file) = file {
            std::fs::write(file, &self.text)
                .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        }
        Ok(())
    }
}
