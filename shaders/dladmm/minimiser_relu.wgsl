// The minimiser of (z - c)^2 + (a - max(z, 0))^2, in closed form (Wang et al. 2019, equation 14).
//
//   z- = min(c, 0)        z+ = max((c + a) / 2, 0)
//   z  = z+ where (z- - c)^2 + a^2 > (z+ - c)^2 + (a - z+)^2, else z-      ties keep z-
fn minimiser(c: vec4f, a: vec4f, quad: u32, features: u32) -> vec4f {
    let below = min(c, vec4f());
    let above = max(0.5 * (c + a), vec4f());
    let cost_below = (below - c) * (below - c) + a * a;
    let cost_above = (above - c) * (above - c) + (a - above) * (a - above);
    return select(below, above, cost_below > cost_above);
}
