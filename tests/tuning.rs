//! A tuned device: it multiplies in the tiles that were measured to be fastest, with the bits of any other tile.

#[path = "support/gpu.rs"]
mod gpu;
#[path = "support/values.rs"]
mod values;

use dualstep::Error;
use dualstep::bench;
use dualstep::engine::{
    AdapterClass, DeviceWords, Gpu, GpuOptions, PlanBuilder, Shape, StorageType, TileTimes, Tuning,
};
use dualstep::kernels::linalg::{self, Transposed};
use values::values;

/// Tiles of a class of device, by their labels.
const TILES: [(AdapterClass, &[&str]); 4] = [
    (AdapterClass::Gpu, &["shared, large", "shared", "shared, narrow", "shared, small"]),
    (AdapterClass::SoftwareEightLanes, &["broadcast", "turned", "tall", "short", "direct"]),
    (AdapterClass::SoftwareSixteenLanes, &["wide", "wide, tall", "wide, short", "direct"]),
    (AdapterClass::Software, &["direct"]),
];

/// Of this device, with every one of these tiles measured, and this one fastest whatever the result.
fn tuning_for(gpu: &Gpu, tiles: &[&str], fastest: &str) -> Tuning {
    let seconds = |tile: &str| if tile == fastest { 1e-9 } else { 1.0 };
    let times = |tile: &&str| TileTimes { tile: (*tile).into(), times: vec![(1, seconds(tile))] };
    Tuning { tiles: tiles.iter().map(times).collect(), ..Tuning::new(gpu.capabilities()) }
}

/// A variant's label, without the specs that are told after it.
fn label(variant: &str) -> String {
    variant.split(' ').take_while(|word| !word.contains('=')).collect::<Vec<_>>().join(" ")
}

/// A Bᵀ of odd sizes, the sum of its squares, and the tile of each.
fn product(gpu: &Gpu) -> (Vec<u32>, f64, Vec<String>) {
    let (rows, columns, inner) = (131, 77, 45);
    let matrix = |seed, rows| gpu.upload(Shape::new(rows, inner), &values(seed, rows * inner)).unwrap();
    let (a, b) = ((&matrix(1, rows), Transposed::No), (&matrix(2, columns), Transposed::Yes));
    let output = Shape::new(rows, columns);
    let zeros = |shape| gpu.zeros(shape, StorageType::F32).unwrap();
    let (c, normed) = (zeros(output), zeros(output));
    let partials = zeros(Shape::vector(linalg::tile_count(gpu, output)));
    let mut plan = PlanBuilder::new(gpu, "product");
    linalg::matmul(&mut plan, a, b, &c).unwrap();
    linalg::matmul_norm(&mut plan, a, b, &normed, &partials, 0).unwrap();
    let plan = plan.finish().unwrap();
    plan.run().unwrap();
    let bits = |tensor| gpu.read(tensor).unwrap().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&c), bits(&normed));
    let norm = gpu.read(&partials).unwrap().iter().map(|part| f64::from(*part)).sum();
    (bits(&c), norm, plan.operations().map(|operation| label(&operation.variant)).collect())
}

#[test]
fn any_tile_has_the_same_bits() {
    let Some(plain) = gpu::open(GpuOptions::default()) else { return };
    // Lanes cannot be pretended.
    let of_any = [AdapterClass::Gpu, AdapterClass::Software, plain.capabilities().class];
    let classes = TILES.iter().filter(|(class, _)| of_any.contains(class));
    let (bits, norm, _) = product(&plain);
    assert!(norm > 0.0);
    for (class, tiles) in classes {
        for fastest in *tiles {
            let open = |tunings| gpu::open(GpuOptions { class: Some(*class), tunings, ..Default::default() });
            let untuned = open(Vec::new()).expect("opened before");
            let tuned = open(vec![tuning_for(&untuned, tiles, fastest)]).expect("opened before");
            let (tuned_bits, tuned_norm, labels) = product(&tuned);
            assert_eq!(labels, [*fastest; 2]);
            assert!(tuned_bits == bits, "{fastest}: other bits");
            // Grouped by tile: each of the 131 * 77 squares is rounded, and enters as many sums as a tree of all would have.
            let tolerance = 14.0 * f64::from(f32::EPSILON) * norm;
            assert!((tuned_norm - norm).abs() <= tolerance, "{fastest}: {tuned_norm} for {norm}");
        }
    }
}

#[test]
fn a_tile_that_is_hardly_faster_is_not_taken() {
    // A class of device with several tiles, whichever this one is of.
    let (class, tiles) = TILES[0];
    let open = |tunings| gpu::open(GpuOptions { class: Some(class), tunings, ..Default::default() });
    let Some(plain) = open(Vec::new()) else { return };
    let by_rule = product(&plain).2[0].clone();
    let other = tiles.iter().find(|tile| **tile != by_rule).unwrap();
    // Times are foreseen by the number of tiles, which must be that of the result to be told.
    let count = |tile: &str| {
        let tuned = open(vec![tuning_for(&plain, tiles, tile)]).unwrap();
        u64::from(linalg::tile_count(&tuned, Shape::new(131, 77)))
    };
    let taken = |factor: f64| {
        let times = [(by_rule.as_str(), 1.0), (other, 1.0 / factor)]
            .map(|(tile, seconds)| TileTimes { tile: tile.into(), times: vec![(count(tile), seconds)] });
        let tuning = Tuning { tiles: times.into(), ..Tuning::new(plain.capabilities()) };
        product(&open(vec![tuning]).unwrap()).2[0].clone()
    };
    assert_eq!(taken(1.04), by_rule);
    assert_eq!(taken(1.06), *other);
}

#[test]
fn what_was_measured_elsewhere_is_not_taken() {
    let Some(plain) = gpu::open(GpuOptions::default()) else { return };
    let own = Tuning::new(plain.capabilities());
    let other = || "another".to_string();
    let of = |device| Tuning { device, ..own.clone() };
    let others = [
        of(DeviceWords { adapter: other(), ..own.device.clone() }),
        of(DeviceWords { driver: other(), ..own.device.clone() }),
        of(DeviceWords { backend: other(), ..own.device.clone() }),
        of(DeviceWords { class: other(), ..own.device.clone() }),
        Tuning { dualstep: other(), ..own.clone() },
    ];
    let open = |tunings: Vec<Tuning>| gpu::open(GpuOptions { tunings, ..Default::default() }).unwrap();
    assert_eq!(plain.tuning(), None);
    assert_eq!(open(others.to_vec()).tuning(), None);
    assert_eq!(open(others.into_iter().chain([own.clone()]).collect()).tuning(), Some(&own));
    // One of tiles that nobody knows leaves the rule as it is.
    let unknown = Tuning { tiles: vec![TileTimes { tile: other(), times: vec![(1, 1.0)] }], ..own };
    assert_eq!(product(&open(vec![unknown])), product(&plain));
}

#[test]
fn tuning_measures_every_tile_of_the_device() {
    let Some(plain) = gpu::open(GpuOptions::default()) else { return };
    let mut told = Vec::new();
    let tuning = bench::tune(&plain, 0.2, |round, rounds| told.push((round, rounds))).expect("measures");
    assert_eq!(told, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
    let (_, tiles) = TILES.iter().find(|(class, _)| *class == plain.capabilities().class).unwrap();
    assert_eq!(tuning.tiles.iter().map(|tile| tile.tile.as_str()).collect::<Vec<_>>(), **tiles);
    for TileTimes { tile, times } in &tuning.tiles {
        assert!(
            times.iter().zip([1, 4, 16, 64, 256, 1024]).all(|((groups, _), expected)| *groups == expected),
            "{tile}"
        );
        assert!(!times.is_empty() && times.iter().all(|(_, seconds)| *seconds > 0.0), "{tile}: {times:?}");
    }
    let (gains, of) = bench::gains(&plain, &tuning);
    assert!(gains.len() <= of && gains.iter().all(|gain| gain.ratio > 1.05), "{gains:?}");
    // What was measured is what a device opened with it has.
    let tuned = gpu::open(GpuOptions { tunings: vec![tuning.clone()], ..Default::default() }).unwrap();
    assert_eq!(tuned.tuning(), Some(&tuning));
    assert_eq!(product(&tuned).0, product(&plain).0);
}

#[test]
fn a_time_that_is_none_is_refused() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let outcome = bench::tune(&gpu, seconds, |_, _| ());
        assert!(matches!(outcome, Err(Error::Setting { setting: "seconds", .. })), "{seconds}");
    }
}
