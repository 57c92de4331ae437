// What the penalty and the update of N:M ADMM share, as the host writes it (kernels::nm::Settings).
struct Settings {
    pull: f32,  // gamma that a step pulls by whatever its learning rate
    rho: f32,   // of the coupled penalty; a decoupled one pulls by rate rho
    leak: f32,  // c: what is left of the dual after an update
    left: f32,  // of a weight off the mask, by a masked step
}
