// A sample's classes all in one lane: for few classes. A workgroup owns WG_SIZE samples.
fn sample_of(group: u32, lane: u32) -> u32 {
    return group * WG_SIZE + lane;
}

fn quad_of(k: u32, lane: u32) -> u32 {
    return k;
}

// The sum over the lanes that share the sample.
fn total(v: vec4f, lane: u32) -> vec4f {
    return v;
}

// The maximum over the lanes that share the sample.
fn greatest(v: vec4f, lane: u32) -> vec4f {
    return v;
}

// Whether this is the first of the lanes that share the sample.
fn is_first(lane: u32) -> bool {
    return true;
}

// What the sample's first lane says.
fn agreed(condition: bool, lane: u32) -> bool {
    return condition;
}
