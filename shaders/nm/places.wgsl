// How a step finds T of a sparse parameter: parameters and T are cut into runs of so many vec4s, which begin where parts of a
// slab do, and a table has for each run of parameters that of T, and the entry of their matrix among the settings.
const RUN: u32 = 32u;
const NONE: u32 = 0xffffffffu;

struct Place {
    run: u32, // NONE where parameters are dense
    entry: u32,
}
