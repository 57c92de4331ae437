//! What a run of the bench found, the arithmetic of the roofline, and what became of it since another run.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Size;
use crate::Error;
use crate::engine::DeviceWords;

/// The first word of every report; another where one of its fields changes its meaning.
const FORMAT: &str = "dualstep bench 1";

/// All that was measured on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Tells such a file from others.
    pub(super) format: String,
    /// Version of this crate.
    pub dualstep: String,
    /// Which device, by its driver's words.
    pub device: DeviceWords,
    /// Whether the device's own clock was read, else the host's from submission to end.
    pub device_time: bool,
    /// How large the operands were.
    pub size: Size,
    /// How often each row was timed.
    pub rounds: u32,
    /// What nothing on this device is faster than.
    pub ceilings: Ceilings,
    /// What a dispatch costs beside the kernel's own time.
    pub overhead: Overhead,
    /// A row per kernel and size, the two ceilings first.
    pub rows: Vec<Row>,
}

/// The median of some measurements and the ends of their middle half.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// A quarter were less.
    pub low: f64,
    /// Half were less.
    pub median: f64,
    /// A quarter were more.
    pub high: f64,
}

/// The rates of the two kernels that do one thing alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceilings {
    /// Bytes a second of `elementwise/copy`.
    pub bandwidth: f64,
    /// Floating-point operations a second of `elementwise/multiply_add`.
    pub arithmetic: f64,
}

/// What the host and the driver add, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Of the host, to record and finish a plan, for each of its dispatches; pipelines were compiled before.
    pub recording: Spread,
    /// Of the host, to replay a plan and hand it to the queue, for each dispatch.
    pub replay: Spread,
    /// Of the device, for each dispatch of a kernel that has next to nothing to do.
    pub dispatch: Spread,
    /// From the submission of a single dispatch until the host knows that it is done.
    pub round_trip: Spread,
}

/// One kernel at one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// `family/kernel`.
    pub kernel: String,
    /// On operands of what shapes.
    pub work: String,
    /// Of one replay.
    pub seconds: Spread,
    /// Floating-point operations of one replay.
    pub flops: u64,
    /// Bytes read and written by one replay, each operand once per direction.
    pub bytes: u64,
}

/// Which ceiling is the lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// That of moving bytes.
    Bandwidth,
    /// That of computing.
    Arithmetic,
}

impl Spread {
    /// Of one measurement or more, in any order. Between two measurements the quartiles are interpolated.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(mut measured: Vec<f64>) -> Self {
        measured.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (measured.len() - 1) as f64;
            let (below, above) = (measured[place.floor() as usize], measured[place.ceil() as usize]);
            below + place.fract() * (above - below)
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    /// Half the middle half, as a share of the median.
    pub fn relative(&self) -> f64 {
        (self.high - self.low) / (2.0 * self.median)
    }

    fn is_sound(&self) -> bool {
        self.low > 0.0 && self.low <= self.median && self.median <= self.high && self.high.is_finite()
    }
}

impl Ceilings {
    /// Seconds that so much work takes at least, and why.
    pub fn floor(&self, flops: u64, bytes: u64) -> (f64, Bound) {
        let (moving, computing) = (bytes as f64 / self.bandwidth, flops as f64 / self.arithmetic);
        match moving >= computing {
            true => (moving, Bound::Bandwidth),
            false => (computing, Bound::Arithmetic),
        }
    }

    /// FLOP/s that a kernel of so many FLOPs per byte can reach: the roofline.
    pub fn attainable(&self, intensity: f64) -> f64 {
        self.arithmetic.min(intensity * self.bandwidth)
    }
}

impl Row {
    /// Bytes a second.
    pub fn bandwidth(&self) -> f64 {
        self.bytes as f64 / self.seconds.median
    }

    /// Floating-point operations a second.
    pub fn flop_rate(&self) -> f64 {
        self.flops as f64 / self.seconds.median
    }

    /// Floating-point operations for each byte.
    pub fn intensity(&self) -> f64 {
        self.flops as f64 / self.bytes as f64
    }

    /// The share of the ceiling that binds it, and which that is. More than 1 where operands stayed in caches.
    pub fn share(&self, ceilings: &Ceilings) -> (f64, Bound) {
        let (floor, bound) = ceilings.floor(self.flops, self.bytes);
        (floor / self.seconds.median, bound)
    }
}

impl Report {
    pub(super) fn format() -> String {
        FORMAT.into()
    }

    /// Reads what `dualstep bench --json` wrote.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Data`] when it is something else, of another version, or holds
    /// times that cannot be.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|detail| Error::Data { path: path.to_owned(), detail })
    }

    fn parse(text: &str) -> Result<Self, String> {
        const REMEDY: &str = "give a file that `dualstep bench --json` of this version wrote";
        let report: Self =
            serde_json::from_str(text).map_err(|error| format!("no report of a bench: {error}; {REMEDY}"))?;
        if report.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}; {REMEDY}", report.format));
        }
        match report.rows.iter().find(|row| !row.seconds.is_sound()) {
            Some(row) => Err(format!("the times of {} {} cannot be; {REMEDY}", row.kernel, row.work)),
            None => Ok(report),
        }
    }
}

/// A row that two reports have.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `family/kernel`.
    pub kernel: String,
    /// On what shapes.
    pub work: String,
    /// The new time for each old second.
    pub ratio: f64,
    /// What that is to say.
    pub verdict: Verdict,
}

/// Whether a kernel's time changed by more than it varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The middle halves do not meet, and the new one lies above.
    Slower,
    /// They meet.
    Same,
    /// The new one lies below.
    Faster,
}

/// What became of every row of `old` that `new` has too, in the order of `new`.
pub fn compare(old: &Report, new: &Report) -> Vec<Change> {
    let twin =
        |row: &Row| old.rows.iter().find(|other| (&other.kernel, &other.work) == (&row.kernel, &row.work));
    let pairs = new.rows.iter().filter_map(|row| Some((twin(row)?, row)));
    pairs.map(|(before, after)| change(before, after)).collect()
}

fn change(before: &Row, after: &Row) -> Change {
    let verdict = if after.seconds.low > before.seconds.high {
        Verdict::Slower
    } else if after.seconds.high < before.seconds.low {
        Verdict::Faster
    } else {
        Verdict::Same
    };
    Change {
        kernel: after.kernel.clone(),
        work: after.work.clone(),
        ratio: after.seconds.median / before.seconds.median,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILINGS: Ceilings = Ceilings { bandwidth: 100.0, arithmetic: 1000.0 };

    fn row(kernel: &str, work: &str, [low, median, high]: [f64; 3]) -> Row {
        let seconds = Spread { low, median, high };
        Row { kernel: kernel.into(), work: work.into(), seconds, flops: 400, bytes: 200 }
    }

    fn report(rows: Vec<Row>) -> Report {
        let spread = Spread { low: 0.5, median: 0.75, high: 1.0 };
        let words = |word: &str| word.to_owned();
        Report {
            format: Report::format(),
            dualstep: words("0.1.0"),
            device: DeviceWords {
                adapter: words("a \"quoted\" one"),
                kind: words("Cpu"),
                backend: words("Vulkan"),
                driver: words("1.0"),
                class: words("Software"),
            },
            device_time: true,
            size: Size::Medium,
            rounds: 7,
            ceilings: CEILINGS,
            overhead: Overhead { recording: spread, replay: spread, dispatch: spread, round_trip: spread },
            rows,
        }
    }

    #[test]
    fn quartiles_are_of_the_sorted_measurements() {
        let spread = Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(spread.relative(), 1.0 / 3.0);
        assert_eq!(Spread::of(vec![1.0, 2.0]), Spread { low: 1.25, median: 1.5, high: 1.75 });
        assert_eq!(Spread::of(vec![8.0]), Spread { low: 8.0, median: 8.0, high: 8.0 });
    }

    #[test]
    fn the_lower_ceiling_binds() {
        // The ridge lies at 10 FLOPs a byte.
        assert_eq!(CEILINGS.floor(400, 200), (2.0, Bound::Bandwidth));
        assert_eq!(CEILINGS.floor(5000, 200), (5.0, Bound::Arithmetic));
        assert_eq!((CEILINGS.attainable(2.0), CEILINGS.attainable(10.0)), (200.0, 1000.0));
        assert_eq!(CEILINGS.attainable(25.0), 1000.0);
        let row = row("a/b", "", [3.0, 4.0, 5.0]);
        assert_eq!(row.share(&CEILINGS), (0.5, Bound::Bandwidth));
        assert_eq!((row.bandwidth(), row.flop_rate(), row.intensity()), (50.0, 100.0, 2.0));
        // On the roof a kernel runs at what is attainable.
        assert_eq!(row.flop_rate() / CEILINGS.attainable(row.intensity()), 0.5);
    }

    #[test]
    fn a_report_survives_its_json() {
        let report = report(vec![row("a/b", "1 × 2", [0.25, 0.5, 0.75])]);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(Report::parse(&text), Ok(report));
    }

    #[test]
    fn other_files_are_no_reports() {
        let good = serde_json::to_string(&report(vec![row("a/b", "c", [0.25, 0.5, 0.75])])).unwrap();
        let broken = [
            (String::new(), "no report of a bench"),
            ("[1, 2]".into(), "no report of a bench"),
            (good[..good.len() - 1].into(), "no report of a bench"),
            (good.replace("bench 1", "bench 0"), "its format is"),
            (good.replace("\"rounds\":7,", ""), "missing field `rounds`"),
            (good.replace("\"low\":0.25", "\"low\":0.0"), "the times of a/b c cannot be"),
            (good.replace("\"low\":0.25", "\"low\":0.6"), "the times of a/b c cannot be"),
        ];
        for (text, expected) in broken {
            let complaint = Report::parse(&text).unwrap_err();
            assert!(complaint.contains(expected), "{complaint}");
        }
    }

    #[test]
    fn a_change_is_what_exceeds_the_spread() {
        let old = report(vec![
            row("a/b", "small", [1.0, 2.0, 3.0]),
            row("a/b", "large", [1.0, 2.0, 3.0]),
            row("c/d", "", [4.0, 5.0, 6.0]),
            row("gone", "", [1.0, 1.0, 1.0]),
        ]);
        let new = report(vec![
            row("c/d", "", [1.0, 2.5, 3.5]),
            row("a/b", "small", [2.5, 3.0, 4.0]),
            row("a/b", "large", [3.5, 4.0, 5.0]),
            row("new", "", [1.0, 1.0, 1.0]),
        ]);
        let changes = compare(&old, &new);
        let short: Vec<_> = changes.iter().map(|it| (it.work.as_str(), it.ratio, it.verdict)).collect();
        let expected =
            [("", 0.5, Verdict::Faster), ("small", 1.5, Verdict::Same), ("large", 2.0, Verdict::Slower)];
        assert_eq!(short, expected);
    }
}
