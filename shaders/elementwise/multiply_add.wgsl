// elementwise/multiply_add: y = f(f(... f(x))) with f(v) = scale v + shift, 32 times in each of `rounds`. The arithmetic ceiling
// that other kernels are measured against: nothing but fused multiply-adds in registers.
//
// x, y: rows x columns, `quads` vec4s a row; the padding of y becomes zero. A workgroup owns 2 WG_SIZE vec4s and a lane two,
// WG_SIZE apart: eight chains that do not wait for each other. On a GPU that and the other subgroups hide the latency of each;
// on a CPU more chains would not stay in registers. Oracle: reference::elementwise::multiply_add.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    columns: u32,
    quads: u32,
    rounds: u32,
    scale: f32,
    shift: f32,
}

struct Pair {
    a: vec4f,
    b: vec4f,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

// Step by step, not chain by chain, so that what stands side by side is independent.
fn eight_steps(pair: Pair, scale: vec4f, shift: vec4f) -> Pair {
    var a = pair.a;
    var b = pair.b;
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    a = fma(a, scale, shift); b = fma(b, scale, shift);
    return Pair(a, b);
}

fn load(i: u32) -> vec4f {
    if i < params.rows * params.quads {
        return x[i];
    }
    return vec4f();
}

fn store(i: u32, v: vec4f) {
    if i < params.rows * params.quads {
        let column = (i % params.quads) * 4u;
        y[i] = select(vec4f(), v, column + vec4u(0u, 1u, 2u, 3u) < vec4u(params.columns));
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 2u * WG_SIZE + lane;
    let scale = vec4f(params.scale);
    let shift = vec4f(params.shift);
    var pair = Pair(load(i), load(i + WG_SIZE));
    for (var round = 0u; round < params.rounds; round++) {
        pair = eight_steps(pair, scale, shift);
        pair = eight_steps(pair, scale, shift);
        pair = eight_steps(pair, scale, shift);
        pair = eight_steps(pair, scale, shift);
    }
    store(i, pair.a);
    store(i + WG_SIZE, pair.b);
}
