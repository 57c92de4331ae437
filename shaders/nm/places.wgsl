// How a step finds T of a sparse parameter: parameters and T are cut into runs of so many vec4s, which begin where parts of a
// slab do, and a table has the run of T for each run of parameters.
const RUN: u32 = 32u;
const NONE: u32 = 0xffffffffu;
