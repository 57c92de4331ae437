// The minimiser of h(z) = (z - c)^2 + (a - f(z))^2 for an f that rises smoothly between two bounds, by a bracketed
// Newton iteration.
//
// Put z = c + s x with x >= 0 and s the sign of a - f(c), so that x points to where f comes nearer to a. Minimisers
// are among the roots of
//   g(x) = x - s (a - f) f'          g' = 1 + f'^2 - (a - f) f''
// g(0) <= 0, and g > 0 beyond |a - f(c)| as f' <= 1. Beyond `reach` of 0 the pull |(a - f) f'| is at most 1, so that
// the last root lies within 1 of c, or within reach. As x grows the pull rises once and falls once, so that there are
// at most three roots, the one in the middle a maximum of h. The first root and the last are bracketed on a grid of
// CELLS cells, and STEPS steps go to each: Newton's where it stays in the bracket, else to the middle of it. The cheaper
// of the two is kept, the one nearer to c on a tie. That is the global minimum, but where all three roots lie within
// two cells: there h is so flat that the wrong one costs next to nothing more.
#import "shared/activation_sigmoid.wgsl"

const CELLS: u32 = 8u; // @spec
const STEPS: u32 = 8u; // @spec

// One scalar problem; z = c + side x.
struct Problem {
    c: f32,
    a: f32,
    side: f32,
}

fn minimiser(c: vec4f, a: vec4f, quad: u32, features: u32) -> vec4f {
    let z = vec4f(minimiser_of(c.x, a.x), minimiser_of(c.y, a.y), minimiser_of(c.z, a.z), minimiser_of(c.w, a.w));
    return select(vec4f(), z, is_feature(quad, features));
}

fn minimiser_of(c: f32, a: f32) -> f32 {
    let gap = a - value(c);
    let problem = Problem(c, a, select(-1.0, 1.0, gap >= 0.0));
    let outside = -problem.side * c;
    let end = min(abs(gap), max(outside + reach(a), 1.0));
    let start = min(max(outside - reach(a), 0.0), end);
    var first = vec2f(0.0, end);
    var last = first;
    var crossed = false;
    var is_below = true;
    for (var cell = 0u; cell < CELLS; cell++) {
        let x = start + (end - start) * (f32(cell) / f32(CELLS));
        let was_below = is_below;
        is_below = slope(problem, x).x < 0.0;
        if is_below {
            last = vec2f(x, end);
            first.x = select(x, first.x, crossed);
        } else {
            last.y = select(last.y, x, was_below);
            first.y = select(x, first.y, crossed);
            crossed = true;
        }
    }
    let near = root(problem, first);
    let far = root(problem, last);
    return c + problem.side * select(near, far, cost(problem, near) > cost(problem, far));
}

// g and g'.
fn slope(problem: Problem, x: f32) -> vec2f {
    let f = value(problem.c + problem.side * x);
    let rest = problem.a - f;
    let steepness = first_derivative(f);
    return vec2f(x - problem.side * rest * steepness, 1.0 + steepness * steepness - rest * second_derivative(f));
}

// h.
fn cost(problem: Problem, x: f32) -> f32 {
    let rest = problem.a - value(problem.c + problem.side * x);
    return x * x + rest * rest;
}

// A root of g between `bracket.x`, where g <= 0, and `bracket.y`, where g >= 0.
fn root(problem: Problem, bracket: vec2f) -> f32 {
    var low = bracket.x;
    var high = bracket.y;
    var x = 0.5 * (low + high);
    for (var step = 0u; step < STEPS; step++) {
        let g = slope(problem, x);
        if g.x < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let newton = x - g.x / g.y;
        x = select(0.5 * (low + high), newton, newton >= low && newton <= high);
    }
    return x;
}
