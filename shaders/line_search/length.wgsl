// How far to go down a gradient.

// Below this a squared gradient may have lost terms to underflow, and is as good as none.
const SMALLEST: f32 = 1e-30;

// 1 / q, where q is the curvature along a gradient whose square is given; 0 where there is nothing to gain.
fn length_of_step(square: f32, q: f32) -> f32 {
    return select(0.0, 1.0 / q, square >= SMALLEST && q > 0.0);
}
