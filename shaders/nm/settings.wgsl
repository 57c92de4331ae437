// What penalty and update of N:M ADMM share of one sparse matrix (kernels::nm::Settings). The host writes all of it at the
// start and `next_rho` when it likes; the device decides `rho`, and `next_rho` where that is automatic.
struct Settings {
    pull: f32,       // gamma that a step pulls by whatever its learning rate
    rho: f32,        // of the coupled penalty; a decoupled one pulls by rate rho
    next_rho: f32,   // rho from the next update on
    leak: f32,       // delta: what an update leaves of the dual where rho stays
    left: f32,       // of a weight off the mask, by a masked step
    gain: f32,       // kappa/interval of an automatic rho; 0 where it is given
    free_steps: u32, // steps before an automatic rho is chosen
    weights: u32,
}
