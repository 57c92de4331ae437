//! Tile machines: what part of a product a workgroup owns, and which of them a device gets.
//!
//! Called by every kernel that contains a product of matrices, above all [`linalg`](super::linalg). What always holds: each
//! machine gives every element of a result the same chain of multiply-adds, so that a choice among them decides speed and
//! never a value. (Sums over a whole result, of which each tile leaves its part, are grouped by tile.)

use std::ops::Range;

use super::linalg::Transposed;
use crate::engine::{AdapterClass, Capabilities, Gpu, Shape, Tuning, Variant};

/// A tile machine: its file and how much of the result one workgroup owns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// Its name in labels, tables and tunings.
    pub label: &'static str,
    file: &'static str,
    /// Of the result.
    pub rows: u32,
    /// Of the result.
    pub columns: u32,
    subgroups: bool,
    specs: &'static [(&'static str, u32)],
}

impl Tile {
    /// Workgroups for a result of this shape.
    pub fn count(self, output: Shape) -> u64 {
        u64::from(output.rows.div_ceil(self.rows)) * u64::from(output.columns.div_ceil(self.columns))
    }

    /// Workgroups for the lower half of a symmetric result, in the bands of linalg/tiles_lower.
    pub fn count_lower(self, size: u32) -> u64 {
        const BAND_ROWS: u32 = 8;
        let row_tiles = size.div_ceil(self.rows);
        let ends = |first: u32| row_tiles.min(first + BAND_ROWS);
        let width = |end: u32| size.min(end * self.rows).div_ceil(self.columns);
        let bands = (0..row_tiles).step_by(BAND_ROWS as usize);
        bands.map(|first| u64::from(ends(first) - first) * u64::from(width(ends(first)))).sum()
    }

    /// The variant of a kernel that reads its operands in a way of its own.
    pub fn variant(self) -> Variant {
        self.variant_for(WAYS[0])
    }

    /// The variant of a kernel whose operands are stored so.
    pub fn variant_for(self, (left, right): (Transposed, Transposed)) -> Variant {
        let mut variant = Variant::new(self.label);
        if self.file != SHARED.file {
            variant = variant.import(SHARED.file, self.file).for_software();
        }
        for (name, value) in self.specs {
            variant = variant.spec(name, *value);
        }
        if left == Transposed::Yes {
            variant = variant.import("linalg/left_rows", "linalg/left_columns");
        }
        if right == Transposed::Yes {
            variant = variant.import("linalg/right_rows", "linalg/right_columns");
        }
        if self.subgroups { variant.with_subgroups() } else { variant }
    }
}

/// Staged in workgroup memory: for GPUs, where neighbouring lanes' loads join and workgroup memory is near.
const SHARED: Tile =
    Tile { label: "shared", file: "linalg/tile_shared", rows: 64, columns: 64, subgroups: false, specs: &[] };
/// The same by 256 lanes, for results so large that tiles of this size keep a GPU busy: operands are read half as often.
const SHARED_LARGE: Tile = Tile {
    label: "shared, large",
    rows: 128,
    columns: 128,
    specs: &[("ROW_LANES", 16), ("COLUMN_LANES", 16)],
    ..SHARED
};
/// The same for results of which medium tiles would keep few of a GPU's processors busy.
const SHARED_NARROW: Tile =
    Tile { label: "shared, narrow", columns: 32, specs: &[("ACROSS", 1), ("INNER_QUADS", 8)], ..SHARED };
/// The same for the smallest results.
const SHARED_SMALL: Tile = Tile {
    label: "shared, small",
    rows: 32,
    columns: 32,
    specs: &[("DOWN", 1), ("ACROSS", 1), ("INNER_QUADS", 8)],
    ..SHARED
};
/// Handed round in registers: for CPUs behind Vulkan whose subgroups have eight lanes, where every lane's load stands
/// alone and loads per multiplication decide.
const BROADCAST: Tile = Tile {
    label: "broadcast",
    file: "linalg/tile_broadcast",
    rows: 32,
    columns: 64,
    subgroups: true,
    specs: &[],
};
/// The same on its side: for results whose columns fill 64-wide tiles badly.
const TURNED: Tile = Tile {
    label: "turned",
    file: "linalg/tile_broadcast_turned",
    rows: 64,
    columns: 32,
    subgroups: true,
    specs: &[],
};
/// The same for few columns.
const TALL: Tile = Tile {
    label: "tall",
    file: "linalg/tile_broadcast_tall",
    rows: 64,
    columns: 12,
    subgroups: true,
    specs: &[],
};
/// The same for few rows.
const SHORT: Tile = Tile {
    label: "short",
    file: "linalg/tile_broadcast_short",
    rows: 12,
    columns: 64,
    subgroups: true,
    specs: &[],
};
/// As the broadcast tile, by sixteen lanes: for CPUs behind Vulkan whose vectors have 512 bits.
const WIDE: Tile =
    Tile { label: "wide", file: "linalg/tile_wide", rows: 64, columns: 64, subgroups: true, specs: &[] };
/// The same for few columns.
const WIDE_TALL: Tile = Tile { label: "wide, tall", file: "linalg/tile_wide_tall", columns: 12, ..WIDE };
/// The same for few rows.
const WIDE_SHORT: Tile = Tile { label: "wide, short", file: "linalg/tile_wide_short", rows: 12, ..WIDE };
/// Every lane for itself: for CPUs behind OpenGL, which have no subgroups.
const DIRECT: Tile = Tile {
    label: "direct",
    file: "linalg/tile_direct",
    rows: 16,
    columns: 128,
    subgroups: false,
    specs: &[],
};

/// Every tile machine, the one that the shader files import first.
pub(super) const TILES: [Tile; 12] = [
    SHARED,
    SHARED_LARGE,
    SHARED_NARROW,
    SHARED_SMALL,
    BROADCAST,
    TURNED,
    TALL,
    SHORT,
    WIDE,
    WIDE_TALL,
    WIDE_SHORT,
    DIRECT,
];

/// The ways to store both operands.
pub(super) const WAYS: [(Transposed, Transposed); 4] = [
    (Transposed::No, Transposed::No),
    (Transposed::No, Transposed::Yes),
    (Transposed::Yes, Transposed::No),
    (Transposed::Yes, Transposed::Yes),
];

/// Every tile machine with each of the given ways to store the operands.
pub(super) fn tile_variants(stored: &[(Transposed, Transposed)]) -> Vec<Variant> {
    TILES.iter().flat_map(|tile| stored.iter().map(|transposed| tile.variant_for(*transposed))).collect()
}

/// The tile for a result of this shape on this device: by the clock where the device was tuned, else by rule.
pub(crate) fn tile_for(gpu: &Gpu, output: Shape) -> Tile {
    let measured = gpu.tuning().and_then(|tuning| tile_by_clock(gpu.capabilities(), tuning, output));
    measured.unwrap_or_else(|| tile_by_rule(gpu.capabilities(), output))
}

/// The machines that make sense on such a device, and that it is verified with.
pub(crate) fn eligible(class: AdapterClass) -> &'static [Tile] {
    match class {
        AdapterClass::Gpu => &[SHARED_LARGE, SHARED, SHARED_NARROW, SHARED_SMALL],
        AdapterClass::SoftwareEightLanes => &[BROADCAST, TURNED, TALL, SHORT, DIRECT],
        AdapterClass::SoftwareSixteenLanes => &[WIDE, WIDE_TALL, WIDE_SHORT, DIRECT],
        AdapterClass::Software => &[DIRECT],
    }
}

/// The tile that a tuning foresees to be fastest; `None` where none of the device's was measured.
pub(crate) fn tile_by_clock(device: &Capabilities, tuning: &Tuning, output: Shape) -> Option<Tile> {
    /// How much faster than the tile by rule another must be: measurements differ by less.
    const MARGIN: f64 = 1.05;
    let seconds = |tile: &Tile| tuning.seconds(tile.label, tile.count(output));
    let measured = eligible(device.class).iter().filter_map(|tile| Some((*tile, seconds(tile)?)));
    let (fastest, least) = measured.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let by_rule = tile_by_rule(device, output);
    let is_as_fast = seconds(&by_rule).is_some_and(|seconds| seconds <= MARGIN * least);
    Some(if is_as_fast { by_rule } else { fastest })
}

/// The tile for a device that nobody has tuned.
pub(crate) fn tile_by_rule(device: &Capabilities, output: Shape) -> Tile {
    let padded = |Tile { rows, columns, .. }: Tile| {
        u64::from(output.rows.next_multiple_of(rows)) * u64::from(output.columns.next_multiple_of(columns))
    };
    match device.class {
        AdapterClass::Gpu => [SHARED_LARGE, SHARED, SHARED_NARROW]
            .into_iter()
            .find(|tile| tile.count(output) >= device.busy_groups)
            .unwrap_or(SHARED_SMALL),
        AdapterClass::Software => DIRECT,
        AdapterClass::SoftwareEightLanes if output.columns <= TALL.columns => TALL,
        AdapterClass::SoftwareEightLanes if output.rows <= SHORT.rows => SHORT,
        // An eighth less work outweighs the sums' being turned round at the end.
        AdapterClass::SoftwareEightLanes if padded(BROADCAST) > padded(TURNED) / 8 * 9 => TURNED,
        AdapterClass::SoftwareEightLanes => BROADCAST,
        AdapterClass::SoftwareSixteenLanes if output.columns <= WIDE_TALL.columns => WIDE_TALL,
        AdapterClass::SoftwareSixteenLanes if output.rows <= WIDE_SHORT.rows => WIDE_SHORT,
        AdapterClass::SoftwareSixteenLanes => WIDE,
    }
}

/// The same where the right operand is dear to read: of two tiles of one size, that whose lanes read half as much of it.
pub(super) fn tile_for_packed(gpu: &Gpu, output: Shape) -> Tile {
    let tile = tile_for(gpu, output);
    if tile.file == BROADCAST.file { TURNED } else { tile }
}

/// A sum over samples in parts that one dispatch sums.
pub(super) fn inner_parts(gpu: &Gpu, inner: u32) -> impl Iterator<Item = Range<u32>> + use<> {
    parts(inner, inner_limit(gpu.capabilities().class, (Transposed::Yes, Transposed::No)))
}

/// The longest sum in one dispatch. On a CPU each step along an operand that is stored with its inner index outermost lies on
/// another page, which address translation keeps in cache for so many: 512 where both operands are stored so (sums over
/// samples) are three times as fast as 5,000.
pub(super) fn inner_limit(class: AdapterClass, (left, right): (Transposed, Transposed)) -> u32 {
    match (class, left == Transposed::Yes, right == Transposed::No) {
        (AdapterClass::Gpu, ..) | (_, false, false) => u32::MAX,
        (_, true, true) => 512,
        (_, true, false) | (_, false, true) => 1024,
    }
}

/// 0..`whole` in parts of at most so many.
pub(super) fn parts(whole: u32, most: u32) -> impl Iterator<Item = Range<u32>> {
    (0..whole.div_ceil(most)).map(move |part| part * most..whole.min((part + 1).saturating_mul(most)))
}
