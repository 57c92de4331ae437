//! Every kernel against its oracle: `dualstep::verify` on the device at hand, in every way a device may differ.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::engine::{AdapterClass, Checks, Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::reference::{self, Matrix};
use dualstep::verify::{self, Effort};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Runs all kernels, or those whose name begins with `family`, and lists what was wrong.
fn expect_all_right(gpu: &Gpu, effort: Effort, family: &str) {
    let rows = verify::run(gpu, effort, |name| name.starts_with(family), |row| println!("{row}")).unwrap();
    assert!(!rows.is_empty());
    let wrong: Vec<_> = rows.iter().filter(|row| !row.passed()).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{}\n{}", gpu.capabilities(), wrong.join("\n"));
}

/// All sizes, with shaders as they are released.
#[test]
fn unchecked_shaders() {
    let Some(gpu) = gpu::open(GpuOptions { poison: true, ..Default::default() }) else { return };
    expect_all_right(&gpu, Effort::Full, "");
}

/// Shaders with the compiler's own bounds checks.
#[test]
fn checked_shaders() {
    let Some(gpu) = gpu::open(GpuOptions { checks: Checks::Checked, ..Default::default() }) else { return };
    expect_all_right(&gpu, Effort::Quick, "");
}

/// Grids of more than one row, as those of more than 65,535 workgroups are.
#[test]
fn folded_grids() {
    for (limit, families) in [
        (
            20,
            &[
                "elementwise",
                "reduce",
                "cg",
                "loss",
                "mlp/bias_gradient",
                "gcn",
                "line_search",
                "dladmm/hidden_z",
                "optimizer",
                "first_order",
                "badm",
                "nm",
                // Of a matrix with more rows of tiles than are walked at a time.
                "linalg/gram",
            ][..],
        ),
        // 782 workgroups of eight lanes, 64 of 64 samples.
        (30, &["dladmm/residual", "dladmm/fista"]),
        // A workgroup for each of 4,096 samples that are drawn, and 3,126 tiles of a matrix that is turned.
        (65, &["batch", "sparse", "linalg/transpose", "linalg/matvec_nm"]),
        // 7 sub-batches of 5 tiles each are the most.
        (
            6,
            &[
                "linalg/matmul",
                "dladmm/activation_gradient",
                "proximal/trial",
                "mlp/delta",
                "mlp/weight_gradient",
            ],
        ),
    ] {
        let Some(gpu) = gpu::open(GpuOptions { group_limit: Some(limit), ..Default::default() }) else {
            return;
        };
        for family in families {
            expect_all_right(&gpu, Effort::Full, family);
        }
    }
}

/// What other kinds of device get. (Products for eight-lane subgroups need such a device.)
#[test]
fn variants_of_other_devices() {
    for class in [AdapterClass::Gpu, AdapterClass::Software] {
        let Some(gpu) = gpu::open(GpuOptions { class: Some(class), ..Default::default() }) else { return };
        for family in [
            "linalg",
            "dladmm/activation_gradient",
            "mlp",
            "proximal/trial",
            "sparse",
            "nm/project",
            "nm/admm_update",
        ] {
            expect_all_right(&gpu, Effort::Quick, family);
        }
    }
}

/// Tiles of a GPU by the workgroups that keep it busy: for small products, what large ones get.
const BUSY: [u64; 3] = [1, 4, 16];

/// Products in tiles that a GPU takes for larger ones.
#[test]
fn larger_tiles() {
    for busy in BUSY {
        let options =
            GpuOptions { class: Some(AdapterClass::Gpu), busy_groups: Some(busy), ..Default::default() };
        let Some(gpu) = gpu::open(options) else { return };
        for family in ["linalg/matmul", "linalg/gram", "dladmm/activation_gradient", "mlp", "proximal/trial"]
        {
            expect_all_right(&gpu, Effort::Quick, family);
        }
    }
}

/// Sums over many samples are split where a GPU's processors would be idle, and nowhere else.
#[test]
fn long_sums_over_samples_are_split_on_a_gpu() {
    let dispatches = |class, busy_groups, (rows, columns, inner): (u32, u32, u32), way| {
        let gpu = gpu::open(GpuOptions { class: Some(class), busy_groups, ..Default::default() })?;
        let zeros = |shape| gpu.zeros(shape, StorageType::F32).unwrap();
        let (a, b) = (zeros(Shape::new(inner, rows)), zeros(Shape::new(inner, columns)));
        let (b, way) = match way {
            Transposed::No => (b, way),
            Transposed::Yes => (zeros(Shape::new(columns, inner)), way),
        };
        let mut plan = PlanBuilder::new(&gpu, "sum");
        let product = zeros(Shape::new(rows, columns));
        linalg::matmul_add(&mut plan, (&a, Transposed::Yes), (&b, way), &product).unwrap();
        let plan = plan.finish().unwrap();
        Some(plan.operations().map(|operation| operation.kernel).collect::<Vec<_>>())
    };
    let (whole, split) =
        (["linalg/matmul_add"], ["elementwise/fill", "mlp/weight_gradient", "linalg/add_parts"]);
    let (gpu, least) = (AdapterClass::Gpu, (10, 20, 2048));
    for (class, busy, size, way, expected) in [
        (gpu, None, least, Transposed::No, &split[..]),
        (gpu, None, (10, 20, 2047), Transposed::No, &whole),
        (gpu, None, (1024, 1024, 2048), Transposed::No, &whole),
        (gpu, Some(1), least, Transposed::No, &whole),
        (gpu, None, least, Transposed::Yes, &whole),
    ] {
        let Some(found) = dispatches(class, busy, size, way) else { return };
        assert_eq!(found, expected, "{class:?}, {busy:?}, {size:?}, {way:?}");
    }
    let Some(software) = dispatches(AdapterClass::Software, None, least, Transposed::No) else { return };
    assert!(!software.contains(&"linalg/add_parts"), "{software:?}");
}

/// A window's rows lie further apart than they are long, which split sums do not know.
#[test]
fn sums_over_windows_of_many_samples_are_not_split() {
    let options = GpuOptions { class: Some(AdapterClass::Gpu), ..Default::default() };
    let Some(gpu) = gpu::open(options) else { return };
    let samples = 2048;
    // Ones in the window, twos around it.
    let stored: Vec<f32> = (0..samples * 74).map(|i| if i % 74 < 64 { 2.0 } else { 1.0 }).collect();
    let wide = gpu.upload(Shape::new(samples, 74), &stored).unwrap();
    let window = wide.window(0..samples, 64..74).unwrap();
    let product = gpu.zeros(Shape::new(10, 10), StorageType::F32).unwrap();
    let mut plan = PlanBuilder::new(&gpu, "sum");
    linalg::matmul_add(&mut plan, (&window, Transposed::Yes), (&window, Transposed::No), &product).unwrap();
    plan.finish().unwrap().run().unwrap();
    assert_eq!(gpu.read(&product).unwrap(), [samples as f32; 100]);
}

/// op(A) op(B) on this device.
fn product(gpu: &Gpu, (a, flip_a): (&Matrix, bool), (b, flip_b): (&Matrix, bool), output: Shape) -> Vec<f32> {
    let upload = |m: &Matrix| gpu.upload(Shape::new(m.rows() as u32, m.cols() as u32), &m.to_f32()).unwrap();
    let way = |flip| if flip { Transposed::Yes } else { Transposed::No };
    let (a, b, c) =
        (upload(a), upload(b), upload(&Matrix::zeros(output.rows as usize, output.columns as usize)));
    let mut plan = PlanBuilder::new(gpu, "product");
    linalg::matmul(&mut plan, (&a, way(flip_a)), (&b, way(flip_b)), &c).unwrap();
    plan.finish().unwrap().run().unwrap();
    gpu.read(&c).unwrap()
}

/// Any product, stored in any way, is within its bound, and has the same bits from every tile.
#[test]
fn products_have_the_same_bits_from_every_tile() {
    let of_gpu = |busy_groups| (Some(AdapterClass::Gpu), busy_groups);
    let mut devices = vec![(None, None), (Some(AdapterClass::Software), None), of_gpu(None)];
    devices.extend(BUSY.map(|busy| of_gpu(Some(busy))));
    let mut gpus = Vec::new();
    for &(class, busy_groups) in &devices {
        let Some(gpu) = gpu::open(GpuOptions { class, busy_groups, ..Default::default() }) else { return };
        gpus.push(gpu);
    }
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() };
    let problems = (1u32..150, 1u32..150, 0u32..80, any::<[bool; 2]>(), any::<u64>());
    let outcome = TestRunner::new(config).run(&problems, |(rows, columns, inner, [flip_a, flip_b], seed)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut random = |rows: u32, columns: u32, flip: bool| {
            let (rows, columns) = if flip { (columns, rows) } else { (rows, columns) };
            Matrix::from_fn(rows as usize, columns as usize, |_, _| f64::from(rng.random_range(-1.0f32..1.0)))
        };
        let (a, b) = (random(rows, inner, flip_a), random(inner, columns, flip_b));
        let results: Vec<_> = gpus
            .iter()
            .map(|gpu| product(gpu, (&a, flip_a), (&b, flip_b), Shape::new(rows, columns)))
            .collect();
        let expected = reference::linalg::matmul(&a, flip_a, &b, flip_b);
        let epsilon = f64::from(inner + 1) * f64::from(f32::EPSILON);
        for (index, &actual) in results[0].iter().enumerate() {
            let (value, magnitude) = (expected.value.data()[index], expected.magnitude.data()[index]);
            let error = (f64::from(actual) - value).abs();
            prop_assert!(error <= epsilon * magnitude, "element {index} is {actual:e}, not {value:e}");
        }
        for (result, device) in results.iter().zip(&devices) {
            let other =
                (0..result.len()).find(|&index| result[index].to_bits() != results[0][index].to_bits());
            prop_assert!(other.is_none(), "element {} differs on {device:?}", other.unwrap_or_default());
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
