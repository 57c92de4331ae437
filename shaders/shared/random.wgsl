// Four random words that depend on nothing but seed, step, slot and index, so that a step rounds the same way wherever
// and however often it runs (pcg4d: Jarzynski and Olano 2020, "Hash functions for GPU rendering").
fn random_words(seed: u32, step: u32, slot: u32, index: u32) -> vec4u {
    var v = vec4u(seed, step, slot, index) * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v ^= v >> vec4u(16u);
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}
