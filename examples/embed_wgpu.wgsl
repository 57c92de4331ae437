// The app's own kernels: a network of one hidden layer, and its gradients of each sub-batch.
//
//   a_u = tanh(in_u . (x, y, 1))       colour = sum over u of a_u out_u + bias       loss = mean of |colour - picture|^2 / 2
//
// The app has all of its memory in one buffer, and binds it as a whole.

const SIDE: u32 = 32u;
const PIXELS: u32 = SIDE * SIDE;
const UNITS: u32 = 64u;
const SUB_BATCHES: u32 = 4u;
const QUADS: u32 = 2u * UNITS + 1u;

// Where things begin, in vec4s.
override WEIGHTS: u32;
override GRADIENTS: u32;
override PICTURE: u32;
override ERRORS: u32;

@group(0) @binding(0) var<storage, read_write> memory: array<vec4f>;

// (x, y, 1, 0), with x and y between -1 and 1.
fn place(pixel: u32) -> vec4f {
    let corner = vec2f(vec2u(pixel % SIDE, pixel / SIDE));
    return vec4f((2.0 * corner + 1.0) / f32(SIDE) - 1.0, 1.0, 0.0);
}

fn activation(unit: u32, pixel: u32) -> f32 {
    return tanh(dot(memory[WEIGHTS + unit], place(pixel)));
}

// One lane a pixel.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u) {
    var colour = memory[WEIGHTS + 2u * UNITS];
    for (var unit = 0u; unit < UNITS; unit++) {
        colour += activation(unit, id.x) * memory[WEIGHTS + UNITS + unit];
    }
    memory[ERRORS + id.x] = colour - memory[PICTURE + id.x];
}

// One workgroup a sub-batch; one lane a unit, and one for the bias, which is a unit that is always 1.
@compute @workgroup_size(65)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) unit: u32) {
    var into = vec4f();
    var out = vec4f();
    for (var pixel = group.x; pixel < PIXELS; pixel += SUB_BATCHES) {
        let error = memory[ERRORS + pixel] / f32(PIXELS / SUB_BATCHES);
        let a = select(activation(unit, pixel), 1.0, unit == UNITS);
        into += (1.0 - a * a) * dot(error, memory[WEIGHTS + UNITS + unit]) * place(pixel);
        out += a * error;
    }
    let row = GRADIENTS + group.x * QUADS;
    if unit < UNITS {
        memory[row + unit] = into;
    }
    memory[row + UNITS + unit] = out;
}
