// 1 - exp(x) for x <= 0, to a few roundings of itself. So 1 - beta^t = complement(t ln beta) is as good at step ten million
// as at the first, and needs no product to be carried from step to step: what is lost to a running product in f32 is
// more than what is left of 1 - beta when beta is near one.
fn complement(x: f32) -> f32 {
    if x < -1.0 {
        return 1.0 - exp(x);
    }
    // The series up to x^12, whose next term is below 2e-10.
    var sum = 1.0;
    for (var k = 12.0; k > 1.5; k -= 1.0) {
        sum = 1.0 + sum * x / k;
    }
    return -x * sum;
}
