// Where training is in its data.

struct Cursor {
    position: u32,   // samples of this epoch that were taken
    epoch: u32,
    seed: u32,
    batches: u32,    // taken since training began
}
