// A step with the penalty of N:M ADMM in it, for the kernels whose parameters are to become sparse in part.
//
// The importing file provides `gradient`, `clock`, `settings`, `places`, `t` and `w`, `advance` (how far the method moves
// four parameters by a gradient), and a penalty of shaders/nm/penalty_*.wgsl.

// The vec4 `i` of w after the step.
fn updated(now: Clock, i: u32) -> vec4f {
    let held = w[i];
    var g = fma(vec4f(now.coupled), held, gradient[i]);
    let place = places[i / RUN];
    var goal = vec4f();
    if place.run != NONE {
        goal = t[place.run * RUN + i % RUN];
        g = with_penalty(place.entry, g, held, goal);
    }
    let moved = held - fma(vec4f(now.decoupled), held, advance(now, i, g));
    if place.run != NONE {
        return after_step(now, place.entry, moved, held, goal);
    }
    return moved;
}
