//! How an iteration of dlADMM's own steps grows with the network and with the data, at penalties from tiny to large (Wang,
//! Yu, Chen and Zhao 2019, tables 2 and 3).

use anyhow::{Context, Result};

use super::{Bench, Summary, table};

const COMMON: &str = "--data embedded --steps quadratic --accelerate none --iterations 6 --eval-every 7";
const PENALTIES: [&str; 5] = ["1e-6", "1e-5", "1e-4", "1e-3", "1e-2"];
/// Neurons of each of two hidden layers, and the samples that go with them.
const NEURONS: ([u32; 5], u32) = ([200, 400, 600, 800, 1000], 5_000);
/// Samples, and the neurons that go with them.
const SAMPLES: ([u32; 5], u32) = ([2_000, 4_000, 6_000, 8_000, 10_000], 400);

/// What was timed along one axis: for each point its size and the seconds of an iteration at each penalty.
struct Axis {
    title: &'static str,
    points: Vec<(u32, Vec<f64>)>,
}

impl Axis {
    fn new(title: &'static str, measured: &[(u32, Summary)]) -> Result<Self> {
        let points = measured.iter().map(|(size, summary)| Ok((*size, seconds(summary)?)));
        Ok(Self { title, points: points.collect::<Result<_>>()? })
    }
}

/// Runs the study and writes its section.
pub fn run(bench: &Bench) -> Result<()> {
    let along = |sizes: [u32; 5], measure: &dyn Fn(u32) -> Result<Summary>| {
        sizes.into_iter().map(|size| Ok((size, measure(size)?))).collect::<Result<Vec<_>>>()
    };
    let by_neurons = along(NEURONS.0, &|neurons| measure(bench, neurons, NEURONS.1))?;
    let by_samples = along(SAMPLES.0, &|samples| measure(bench, SAMPLES.1, samples))?;
    let axes = [Axis::new("neurons of each hidden layer", &by_neurons)?, Axis::new("samples", &by_samples)?];
    super::replace("scaling", &section(&by_neurons[0].1, &axes))
}

/// A short training at every penalty.
fn measure(bench: &Bench, neurons: u32, samples: u32) -> Result<Summary> {
    let sizes = format!("{COMMON} --hidden {neurons},{neurons} --samples {samples}");
    let mut words: Vec<String> = sizes.split_whitespace().map(String::from).collect();
    for penalty in PENALTIES {
        words.extend(["--run".into(), format!("{penalty}=--rho {penalty}")]);
    }
    bench.compare(&format!("scaling-{neurons}-{samples}"), &words)
}

/// Of an iteration at each penalty.
fn seconds(summary: &Summary) -> Result<Vec<f64>> {
    let of = |penalty: &&str| {
        let cell = summary.cell(penalty, "s / iteration");
        cell.parse().with_context(|| format!("{cell} are no seconds"))
    };
    PENALTIES.iter().map(of).collect()
}

fn section(first: &Summary, axes: &[Axis]) -> String {
    let intro = format!(
        "## Time of an iteration\n\n{}; dualstep {}. Seconds of an iteration of dlADMM's own steps, with ν = ρ, two hidden layers, \
         images of Fashion-MNIST: by neurons with {} samples, by samples with {} neurons. Five iterations after the first, none \
         of them scored. A backtracking search costs no product here, so that ρ, which decides how long searches are, does \
         not show. The lines of a chart are those of the penalties.\n",
        first.fact("adapter"),
        first.fact("dualstep"),
        NEURONS.1,
        SAMPLES.1,
    );
    axes.iter().fold(intro, |text, axis| {
        text + &format!("\n### By {}\n\n{}\n{}", axis.title, grid(axis), chart(axis))
    })
}

/// A row for each penalty, a column for each size.
fn grid(axis: &Axis) -> String {
    let heading = std::iter::once("ρ".into()).chain(axis.points.iter().map(|(size, _)| size.to_string()));
    let mut rows = vec![heading.collect::<Vec<_>>()];
    for (at, penalty) in PENALTIES.iter().enumerate() {
        let cells = axis.points.iter().map(|(_, seconds)| format!("{:.3}", seconds[at]));
        rows.push(std::iter::once((*penalty).into()).chain(cells).collect());
    }
    table(&rows)
}

/// The same as a chart in Mermaid, which pages that show Markdown draw.
fn chart(axis: &Axis) -> String {
    let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(", ");
    let sizes = list(&mut axis.points.iter().map(|(size, _)| size.to_string()));
    let most = axis.points.iter().flat_map(|(_, seconds)| seconds).copied().fold(0.0, f64::max);
    let lines: String = (0..PENALTIES.len())
        .map(|at| {
            let values = list(&mut axis.points.iter().map(|(_, seconds)| format!("{:.3}", seconds[at])));
            format!("    line [{values}]\n")
        })
        .collect();
    format!(
        "```mermaid\nxychart-beta\n    x-axis \"{}\" [{sizes}]\n    y-axis \"seconds\" 0 --> {:.3}\n{lines}```\n",
        axis.title,
        1.05 * most
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_becomes_a_table_and_a_chart_of_a_line_for_each_penalty() {
        let axis = Axis { title: "samples", points: vec![(1, vec![0.5; 5]), (2, vec![1.0; 5])] };
        assert!(grid(&axis).ends_with("| 1e-2 | 0.500 | 1.000 |\n"));
        let chart = chart(&axis);
        assert_eq!(chart.matches("line [0.500, 1.000]").count(), PENALTIES.len());
        assert!(chart.contains("x-axis \"samples\" [1, 2]\n    y-axis \"seconds\" 0 --> 1.050\n"));
    }
}
