// dladmm/fista: z-step of the last layer, softmax cross-entropy, by accelerated proximal-gradient steps.
//
//   min(`iterations`, control.fista_steps) of the steps of dladmm/fista_step, for each sample
//
// P, u, z: samples x classes, `quads` vec4s a sample; b: classes; labels: one u32 per sample.
// A lane owns one sample, or a workgroup where classes are many; see dladmm/classes. Oracle: reference::dladmm::fista.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/fista_step.wgsl"
#import "dladmm/write_z.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    iterations: u32,
    eta: f32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> dual: array<vec4f>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> control: Control;
@group(0) @binding(5) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let sample = sample_of(linear_group(group, groups), lane);
    if sample >= params.samples {
        return;
    }
    let label = labels[sample];
    let centre = scaled_centre(sample, lane);
    let steps = min(f32(params.iterations), control.fista_steps);
    var at = first_iterate(read_z(sample, lane));
    for (var step = 0u; f32(step) < steps; step++) {
        advance(&at, softmax(at.z, lane), centre, label, lane);
    }
    write_z(sample, lane, at.z);
}
