// What one workgroup has of the matrices that are to become sparse, in a table that the host makes once
// (kernels::nm::Chunk). Positions count units, of which each kernel says what they are: vec4s or elements.
struct Chunk {
    w: u32,      // where the matrix begins in the row of all parameters
    t: u32,      // and in T
    stride: u32, // units of a row of the matrix
    width: u32,  // what is counted of a row: groups, or columns
    first: u32,  // the first of what is the chunk's
    end: u32,    // past the last
    keep: u32,   // of each group
    entry: u32,  // the matrix's settings
}
