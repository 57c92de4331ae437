// Whether x is neither infinite nor NaN, by its bits: compilers may assume that comparisons never see NaN.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
