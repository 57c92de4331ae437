// What a dlADMM iteration is steered by. Written by the host at the start, by dladmm/record between iterations and by
// dladmm/fista_stop; every other kernel only reads it. All floats, so that copying it as floats keeps its bits.
struct Control {
    rho: f32,        // penalty of the last layer's constraint
    nu: f32,         // penalty of the relaxed constraints
    tau_0: f32,      // where the search for an activation's curvature starts
    theta_0: f32,    // the same for weights
    cost: f32,       // training cost of the last evaluated iteration
    rises: f32,      // how many iterations in a row it has risen
    fista_steps: f32, // how many steps of z_L the stop test asks for; without one more than any
    unused: f32,
}
