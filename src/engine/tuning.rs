//! What was measured on an adapter, for choices among kernels that its class alone does not settle.
//!
//! `dualstep tune` measures and keeps it in a file; [`Gpu::open`](super::Gpu::open) takes what fits its adapter, and
//! `kernels/tiles.rs` reads it. What always holds: a tuning is of one adapter, one driver and one version of this crate, and
//! means nothing to any other; times are positive and those of a tile are in the order of workgroups.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Capabilities, DeviceWords};
use crate::Error;
use crate::files::write_atomically;

/// How long the tiles of matrix products take on one adapter, by how many there are of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// The version of this crate.
    pub dualstep: String,
    /// Whose times they are.
    pub device: DeviceWords,
    /// For each tile that was measured.
    pub tiles: Vec<TileTimes>,
}

/// Times of products that are cut into tiles of one kind, all with sums of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TileTimes {
    /// The kind, as labels of kernel variants call it.
    pub tile: String,
    /// Workgroups, one for each tile of the result, and seconds that they took together; more and more workgroups.
    pub times: Vec<(u64, f64)>,
}

impl Tuning {
    /// Of this device, by this version, with nothing measured yet.
    pub fn new(device: &Capabilities) -> Self {
        let (dualstep, device) = (env!("CARGO_PKG_VERSION").into(), DeviceWords::of(device));
        Self { dualstep, device, tiles: Vec::new() }
    }

    /// Whether it was measured on this device, with this driver, by this version.
    pub fn is_of(&self, device: &Capabilities) -> bool {
        self.is_instead_of(&Self::new(device))
    }

    /// Whether both are of one device, one driver and one version.
    fn is_instead_of(&self, other: &Self) -> bool {
        (&self.dualstep, &self.device) == (&other.dualstep, &other.device)
    }

    /// Seconds that so many workgroups of a tile take, each with a sum of the measured length: as measured, on a line between
    /// two measurements, in proportion beyond the last. `None` for a tile that was not measured.
    pub fn seconds(&self, tile: &str, groups: u64) -> Option<f64> {
        let times = &self.tiles.iter().find(|it| it.tile == tile)?.times;
        let next = times.partition_point(|(measured, _)| *measured < groups);
        let after = times.get(next).or(times.last())?;
        let before = if next == 0 || next == times.len() { (0, 0.0) } else { times[next - 1] };
        // Fewer than were ever measured take as long as those.
        let groups = if next == 0 { after.0 } else { groups };
        let share = (groups - before.0) as f64 / (after.0 - before.0) as f64;
        Some(before.1 + share * (after.1 - before.1))
    }

    /// All tunings that a file holds; none where there is no file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Data`] when it holds something else, or times that cannot be.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, Error> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|detail| Error::Data { path: path.to_owned(), detail }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(Error::Io { action: "read", path: path.to_owned(), source }),
        }
    }

    fn parse(text: &str) -> Result<Vec<Self>, String> {
        const REMEDY: &str = "remove the file and run `dualstep tune` again";
        let tunings: Vec<Self> =
            serde_json::from_str(text).map_err(|error| format!("no tunings: {error}; {REMEDY}"))?;
        let is_sound = |tile: &TileTimes| {
            tile.times.iter().all(|(groups, seconds)| *groups > 0 && seconds.is_finite() && *seconds > 0.0)
                && tile.times.is_sorted_by(|(fewer, _), (more, _)| fewer < more)
        };
        match tunings.iter().flat_map(|tuning| &tuning.tiles).find(|tile| !is_sound(tile)) {
            Some(TileTimes { tile, .. }) => Err(format!("the times of tile {tile} cannot be; {REMEDY}")),
            None => Ok(tunings),
        }
    }

    /// Writes it into a file beside all others that are there, in the place of an earlier one of the same device, driver and
    /// version. A folder that does not exist is made.
    ///
    /// # Errors
    /// Those of [`Tuning::read_all`]; [`Error::Io`] when the file cannot be written.
    pub fn keep(self, path: &Path) -> Result<(), Error> {
        let mut tunings = Self::read_all(path)?;
        tunings.retain(|other| !other.is_instead_of(&self));
        tunings.push(self);
        if let Some(folder) = path.parent() {
            let made = fs::create_dir_all(folder);
            made.map_err(|source| Error::Io { action: "make", path: folder.to_owned(), source })?;
        }
        write_atomically(path, |out| {
            serde_json::to_writer_pretty(&mut *out, &tunings)?;
            out.write_all(b"\n")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(adapter: &str, times: &[(u64, f64)]) -> Tuning {
        let tiles = vec![TileTimes { tile: "wide".into(), times: times.to_vec() }];
        let [dualstep, kind, backend, driver, class] = ["1", "Cpu", "Vulkan", "d", "Gpu"].map(String::from);
        let device = DeviceWords { adapter: adapter.into(), kind, backend, driver, class };
        Tuning { dualstep, device, tiles }
    }

    #[test]
    fn times_lie_on_lines_through_what_was_measured() {
        let measured = tuning("a", &[(2, 1.0), (4, 2.0), (8, 10.0)]);
        for (groups, seconds) in
            [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.5), (4, 2.0), (5, 4.0), (7, 8.0), (8, 10.0), (16, 20.0)]
        {
            assert_eq!(measured.seconds("wide", groups), Some(seconds), "{groups} workgroups");
        }
        assert_eq!(measured.seconds("narrow", 1), None);
        assert_eq!(tuning("a", &[]).seconds("wide", 1), None);
    }

    #[test]
    fn a_file_holds_one_of_each_device() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/tunings.json");
        assert_eq!(Tuning::read_all(&path).unwrap(), []);
        let (old, other, new) =
            (tuning("a", &[(1, 1.0)]), tuning("b", &[(1, 2.0)]), tuning("a", &[(1, 1.5)]));
        for tuning in [&old, &other, &new] {
            tuning.clone().keep(&path).unwrap();
        }
        assert_eq!(Tuning::read_all(&path).unwrap(), [other, new]);
    }

    #[test]
    fn what_cannot_have_been_measured_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tunings.json");
        let wrong =
            [&[(1, 0.0)][..], &[(1, -1.0)], &[(0, 1.0)], &[(2, 1.0), (2, 2.0)], &[(4, 1.0), (2, 2.0)]];
        let wrong = wrong.map(|times| serde_json::to_string(&[tuning("a", times)]).unwrap());
        for text in wrong.iter().map(String::as_str).chain(["", "{}", "[{}]", "[1]"]) {
            fs::write(&path, text).unwrap();
            let error = Tuning::read_all(&path).unwrap_err().to_string();
            assert!(error.contains("tunings.json") && error.contains("run `dualstep tune` again"), "{error}");
            // Nor is it written over.
            tuning("a", &[(1, 1.0)]).keep(&path).unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
