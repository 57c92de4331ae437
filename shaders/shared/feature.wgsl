// Which components of a sample's vec4 number `quad` are features, and which padding.
fn is_feature(quad: u32, features: u32) -> vec4<bool> {
    return quad * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(features);
}
