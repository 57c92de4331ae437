// Weights stored as f32: a unit is stored as it is.
alias Stored = Unit;

fn pack(value: Unit) -> Stored {
    return value;
}

fn unpack(stored: Stored) -> Unit {
    return stored;
}
