// linalg/right_packed: reads op(B) = W^T with W in the packed form of an N:M matrix: columns x inner.
//
//   right_column(c, q)[k] = W[c, 4(f + q) + k]      k = 0..3      zero where not kept, beyond the last k and column
//
// where f is `params.first`, the quads of K before the part that is multiplied.
//
// A quad is put together from the entries of the groups that it meets. Its zeros are multiplied like other numbers: to leave
// them out takes a load of the left operand for every entry, which costs more than the multiplications of a whole tile.
#import "nm/packed_values.wgsl"
#import "linalg/right_turned.wgsl"

// Adds to a quad, the columns from `first` on, what a group keeps of them.
fn with_group(before: vec4f, row: u32, group: u32, first: u32) -> vec4f {
    var quad = before;
    var coming = 0u;
    var unread = 0u;
    let end = (group + 1u) * params.keep;
    for (var entry = group * params.keep; entry < end; entry++) {
        if unread == 0u {
            unread = min(32u / params.bits, end - entry);
            coming = places_from(row, entry, unread);
        }
        // Columns outside the quad, the places that are none among them, equal none of the four.
        let column = group * params.width + (coming & ((1u << params.bits) - 1u)) - first;
        quad = select(quad, vec4f(value_of(row, entry)), vec4u(column) == vec4u(0u, 1u, 2u, 3u));
        coming >>= params.bits;
        unread -= 1u;
    }
    return quad;
}

fn right_column(row: u32, inner_quad: u32) -> vec4f {
    var quad = vec4f();
    if row < params.columns && 4u * inner_quad < params.inner {
        let first = 4u * (params.first + inner_quad);
        let last = min(first + 3u, 4u * params.first + params.inner - 1u);
        for (var group = first / params.width; group * params.width <= last; group++) {
            quad = with_group(quad, row, group, first);
        }
    }
    return quad;
}
