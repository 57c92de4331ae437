//! `solvers::linear` against float64: matrices of known condition.

#[path = "support/gpu.rs"]
mod gpu;

use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType};
use dualstep::kernels::dladmm::STATUS_LENGTH;
use dualstep::reference::{Matrix, linalg};
use dualstep::solvers::linear;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Q D Qᵀ with these eigenvalues, Q a product of reflections; every element an f32.
fn of_eigenvalues(size: usize, eigenvalue: impl Fn(usize) -> f64, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut matrix = Matrix::from_fn(size, size, |i, j| if i == j { eigenvalue(i) } else { 0.0 });
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

/// With eigenvalues from 1 to 1/condition, evenly on a scale of logarithms.
fn of_condition(size: usize, condition: f64, seed: u64) -> Matrix {
    let place = |i: usize| if size > 1 { i as f64 / (size - 1) as f64 } else { 0.0 };
    of_eigenvalues(size, |i| condition.powf(-place(i)), seed)
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

/// What so many steps of conjugate gradients on the device make of X S = B.
fn iterate(gpu: &Gpu, matrix: &Matrix, right: &Matrix, steps: u32) -> Matrix {
    let size = matrix.rows();
    let side = Shape::new(right.rows() as u32, size as u32);
    let on_device = gpu.upload(Shape::new(size as u32, size as u32), &matrix.to_f32()).unwrap();
    let right_side = gpu.upload(side, &right.to_f32()).unwrap();
    let solution = gpu.upload(side, &vec![f32::NAN; right.data().len()]).unwrap();
    let mut plan = PlanBuilder::new(gpu, "iterate");
    linear::conjugate_gradients(&mut plan, &on_device, &right_side, steps, &solution).unwrap();
    plan.finish().unwrap().run().unwrap();
    let kept = |tensor, values: &Matrix| {
        let (before, after) = (values.to_f32(), gpu.read(tensor).unwrap());
        before.iter().zip(&after).all(|(before, after)| before.to_bits() == after.to_bits())
    };
    assert!(kept(&on_device, matrix) && kept(&right_side, right), "the system is not to be written");
    Matrix::from_f32(right.rows(), size, &gpu.read(&solution).unwrap())
}

fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Matrix::from_fn(rows, columns, |_, _| f64::from(rng.random_range(-1.0f32..1.0)))
}

/// √⟨e, e S⟩ of each row of `expected` − `actual`.
fn distances(matrix: &Matrix, expected: &Matrix, actual: &Matrix) -> Vec<f64> {
    let error = Matrix::from_fn(expected.rows(), expected.cols(), |row, column| {
        expected[(row, column)] - actual[(row, column)]
    });
    let image = linalg::matmul(&error, false, matrix, false).value;
    let inner = |row: usize| error.row(row).iter().zip(image.row(row)).map(|(e, q)| e * q).sum::<f64>();
    (0..error.rows()).map(|row| inner(row).max(0.0).sqrt()).collect()
}

/// After k steps a row's distance is at most 2 ((√c − 1) / (√c + 1))ᵏ of what it was, or what rounding leaves of it: a
/// residual off by n ε ‖x‖ is a distance of √c as much where the largest eigenvalue is 1.
#[test]
fn conjugate_gradients_converge_as_theory_says() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for size in [1, 3, 65, 130] {
        for (condition, most) in [(1.0, 4), (1e3, 256), (1e6, 1024)] {
            let matrix = of_condition(size, condition, size as u64);
            let expected = random(5, size, 17);
            let right = linalg::matmul(&expected, false, &matrix, false).value;
            let start = distances(&matrix, &expected, &Matrix::zeros(5, size));
            let root = f64::sqrt(condition);
            let shrinkage = (root - 1.0) / (root + 1.0);
            for steps in (0..).map(|k| 4u32.pow(k)).take_while(|steps| *steps <= most) {
                let solution = iterate(&gpu, &matrix, &right, steps);
                let after = distances(&matrix, &expected, &solution);
                for (row, (before, after)) in start.iter().zip(after).enumerate() {
                    let norm = expected.row(row).iter().map(|x| x * x).sum::<f64>().sqrt();
                    let rounding = 2.0 * size as f64 * f64::from(f32::EPSILON) * root * norm;
                    let allowed = 2.0 * shrinkage.powi(steps as i32) * before * 1.01 + rounding;
                    let case = format!("{size} rows, condition {condition:e}, {steps} steps, row {row}");
                    assert!(after <= allowed, "{case}: {after:e} of {allowed:e}, {before:e} before");
                }
            }
        }
    }
}

/// As many steps as there are distinct eigenvalues.
#[test]
fn conjugate_gradients_end_with_the_eigenvalues() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    for eigenvalues in [&[0.5][..], &[1.0, 0.1], &[1.0, 0.6, 0.3, 0.1]] {
        let count = eigenvalues.len() as u32;
        let matrix = of_eigenvalues(150, |i| eigenvalues[i % eigenvalues.len()], 5);
        let expected = random(7, 150, 23);
        let right = linalg::matmul(&expected, false, &matrix, false).value;
        let error = |steps| iterate(&gpu, &matrix, &right, steps).relative_error(&expected);
        assert!(error(count) < 1e-5, "{count} eigenvalues: {:e}", error(count));
        assert!(count == 1 || error(count - 1) > 1e-2, "{count} eigenvalues took fewer steps");
    }
}

/// Rows that cannot be gone on with keep what they have, and the others do not notice.
#[test]
fn conjugate_gradients_leave_hopeless_rows_alone() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let size = 70;
    let matrix = of_condition(size, 10.0, 3);
    let mut right = random(6, size, 29);
    let whole = iterate(&gpu, &matrix, &right, 30);
    for column in 0..size {
        right[(1, column)] = 0.0;
    }
    right[(3, 9)] = f64::NAN;
    right[(4, 9)] = f64::INFINITY;
    let solution = iterate(&gpu, &matrix, &right, 30);
    for row in 0..6 {
        let is_alone = [1, 3, 4].contains(&row);
        let wanted = if is_alone { Matrix::zeros(1, size).data().to_vec() } else { whole.row(row).to_vec() };
        assert_eq!(solution.row(row), wanted, "row {row}");
    }
    let right = random(3, size, 31);
    for steps in [0, 1, 200] {
        assert_eq!(iterate(&gpu, &Matrix::zeros(size, size), &right, steps).norm(), 0.0);
        assert_eq!(iterate(&gpu, &matrix.map(|value| -value), &right, steps).norm(), 0.0);
    }
    let mut odd = matrix.clone();
    odd[(5, 6)] = f64::NAN;
    assert_eq!(iterate(&gpu, &odd, &right, 10).norm(), 0.0);
}

/// In a singular matrix, what can be solved is solved, and stays solved however many steps follow.
#[test]
fn conjugate_gradients_stay_finite_in_singular_matrices() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let size = 90;
    let mut matrix = of_condition(size, 10.0, 3);
    for hole in [0, 63, 89] {
        for other in 0..size {
            matrix[(hole, other)] = 0.0;
            matrix[(other, hole)] = 0.0;
        }
    }
    let mut expected = random(4, size, 37);
    for row in 0..4 {
        for hole in [0, 63, 89] {
            expected[(row, hole)] = 0.0;
        }
    }
    let right = linalg::matmul(&expected, false, &matrix, false).value;
    for steps in [40, 400] {
        let solution = iterate(&gpu, &matrix, &right, steps);
        let error = solution.relative_error(&expected);
        assert!(error < 1e-5, "{steps} steps: {error:e}");
    }
    // No solution: the part of the right-hand side that is out of reach stays in the residual.
    let out_of_reach = random(4, size, 41);
    assert!(iterate(&gpu, &matrix, &out_of_reach, 400).data().iter().all(|value| value.is_finite()));
}

/// Two runs, the same bits.
#[test]
fn conjugate_gradients_are_repeatable() {
    let Some(gpu) = gpu::open(GpuOptions::default()) else { return };
    let (matrix, right) = (of_condition(300, 1e4, 8), random(40, 300, 43));
    assert_eq!(iterate(&gpu, &matrix, &right, 20), iterate(&gpu, &matrix, &right, 20));
}
