// Entries of the packed form of an N:M matrix as numbers, with the columns that they are in.
//
// The importing file provides `values` in words, and `params` with `keep`, `width` and `value_words` beside what nm/packed
// needs.
#import "nm/words.wgsl"
#import "nm/number_f32.wgsl"
#import "nm/packed.wgsl"

fn value_of(row: u32, entry: u32) -> f32 {
    return number(part(values[row * params.value_words + entry / WEIGHTS], entry % WEIGHTS));
}

fn column_of(row: u32, entry: u32) -> u32 {
    return (entry / params.keep) * params.width + place_of(row, entry);
}
