// Duals and second moments stored as f32, which needs no random bits: four elements are a vec4.
alias Stored = vec4f;

fn pack(value: vec4f, random: vec4u) -> Stored {
    return value;
}

fn unpack(stored: Stored) -> vec4f {
    return stored;
}

fn pack_moment(value: vec4f, random: vec4u) -> Stored {
    return value;
}

fn unpack_moment(stored: Stored) -> vec4f {
    return stored;
}
