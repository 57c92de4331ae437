// A history stored as f32: four elements are a vec4.
alias Stored = vec4f;

fn pack(value: vec4f) -> Stored {
    return value;
}

fn unpack(stored: Stored) -> vec4f {
    return stored;
}
