//! `solvers::linear` against float64: matrices of known condition.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
use dualstep::kernels::dladmm::STATUS_LENGTH;
use dualstep::reference::{Matrix, linalg};
use dualstep::solvers::linear;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Q D Qᵀ with eigenvalues from 1 to 1/condition, Q a product of reflections; every element an f32.
fn of_condition(size: usize, condition: f64, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let place = |i: usize| if size > 1 { i as f64 / (size - 1) as f64 } else { 0.0 };
    let mut matrix = Matrix::from_fn(size, size, |i, j| if i == j { condition.powf(-place(i)) } else { 0.0 });
    for _ in 0..3 {
        let v: Vec<f64> = (0..size).map(|_| rng.random_range(-1.0..1.0)).collect();
        let square: f64 = v.iter().map(|v| v * v).sum();
        let reflection =
            Matrix::from_fn(size, size, |i, j| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / square);
        let half = linalg::matmul(&reflection, false, &matrix, false).value;
        matrix = linalg::matmul(&half, false, &reflection, false).value;
    }
    Matrix::from_fn(size, size, |i, j| f64::from(matrix[(i.max(j), i.min(j))] as f32))
}

/// The solution of X S = B that the device finds, and how many pivots it dropped.
fn solve(gpu: &Gpu, matrix: &Matrix, right: &Matrix, floor: f32) -> (Matrix, u32) {
    let size = matrix.rows();
    let shape = Shape::new(size as u32, size as u32);
    let side = Shape::new(right.rows() as u32, size as u32);
    let on_device = gpu.upload(shape, &matrix.to_f32()).unwrap();
    let root = gpu.zeros(shape, StorageType::F32).unwrap();
    let right = gpu.upload(side, &right.to_f32()).unwrap();
    let solution = gpu.zeros(side, StorageType::F32).unwrap();
    let steps = gpu.upload(Shape::vector(4), &[0.0, floor, 0.0, 0.0]).unwrap();
    let status = gpu.zeros(Shape::vector(STATUS_LENGTH), StorageType::U32).unwrap();
    let mut plan = PlanBuilder::new(gpu, "solve");
    linear::inverse_root(&mut plan, &on_device, (&steps, 0), &status, &root).unwrap();
    linear::solve_rows(&mut plan, &right, &root, &solution).unwrap();
    plan.finish().unwrap().run().unwrap();
    let values = Matrix::from_f32(right.shape().rows as usize, size, &gpu.read(&solution).unwrap());
    (values, gpu.read_u32(&status).unwrap()[3])
}

fn identity(size: usize) -> Matrix {
    Matrix::from_fn(size, size, |i, j| f64::from(u8::from(i == j)))
}

/// A solution is off by 8 n ε cond(S) of itself at most, whether it is large or small for its right-hand side: the
/// factor is off by n ε (Higham 2002, theorem 10.3), its inverse and each of two products by as much again.
#[test]
fn solutions_at_any_condition() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for size in [1, 3, 63, 64, 65, 130, 257] {
        for condition in [1.0, 1e3, 1e6] {
            let matrix = of_condition(size, condition, size as u64);
            let mut rng = ChaCha8Rng::seed_from_u64(17);
            let expected = Matrix::from_fn(5, size, |_, _| rng.random_range(-1.0..1.0));
            let right = linalg::matmul(&expected, false, &matrix, false).value;
            // The right-hand side is rounded to f32, which alone costs ε cond(S).
            let (solution, dropped) = solve(&gpu, &matrix, &right, 0.0);
            assert_eq!(dropped, 0, "{size} rows, condition {condition:e}");
            let error = solution.relative_error(&expected);
            let allowed = 8.0 * size as f64 * f64::from(f32::EPSILON) * condition;
            assert!(error <= allowed, "{size} rows, condition {condition:e}: {error:e} of {allowed:e}");
        }
    }
}

/// Variables that are missing or double are left alone; what is solved with stays finite, and the count says so.
#[test]
fn singular_matrices_stay_finite() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let mut matrix = of_condition(150, 10.0, 3);
    for hole in [0, 63, 64, 149] {
        for other in 0..150 {
            matrix[(hole, other)] = 0.0;
            matrix[(other, hole)] = 0.0;
        }
    }
    let (inverse, dropped) = solve(&gpu, &matrix, &identity(150), 1e-6);
    assert_eq!(dropped, 4);
    assert!(inverse.data().iter().all(|value| value.is_finite()));
    let product = linalg::matmul(&matrix, false, &inverse, false).value;
    for i in 0..150 {
        let wanted = f64::from(u8::from(![0, 63, 64, 149].contains(&i)));
        assert!((product[(i, i)] - wanted).abs() < 1e-3, "row {i}: {}", product[(i, i)]);
    }
    let (inverse, dropped) = solve(&gpu, &Matrix::zeros(70, 70), &identity(70), 0.0);
    assert_eq!((inverse.norm(), dropped), (0.0, 70));
    let doubled = Matrix::from_fn(80, 80, |i, j| f64::from(u8::from(i % 40 == j % 40)));
    let (inverse, dropped) = solve(&gpu, &doubled, &identity(80), 1e-6);
    assert_eq!(dropped, 40);
    assert!(inverse.data().iter().all(|value| value.is_finite()));
}

/// Two runs, the same bits.
#[test]
fn solutions_are_repeatable() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let matrix = of_condition(200, 1e4, 8);
    let solve = || solve(&gpu, &matrix, &identity(200), 0.0);
    assert_eq!(solve(), solve());
}
