// Which of a list of partial sums, one for each chunk, are of one matrix.
struct Range {
    first: u32,
    end: u32,
}
