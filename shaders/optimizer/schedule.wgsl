// What the learning rate is multiplied by at a step, counted from 0.
//
//   constant 1      linear max(0, 1 - step/period)      cosine (1 + cos(pi min(1, step/period)))/2
//   stepped decay^floor(step/period)
const CONSTANT: u32 = 0u;
const LINEAR: u32 = 1u;
const COSINE: u32 = 2u;
const STEPPED: u32 = 3u;

struct Schedule {
    kind: u32,
    period: u32, // not zero
    decay: f32,
}

fn schedule_factor(schedule: Schedule, step: u32) -> f32 {
    if schedule.kind == CONSTANT {
        return 1.0;
    }
    if schedule.kind == STEPPED {
        return power(schedule.decay, step / schedule.period);
    }
    let left = schedule.period - min(step, schedule.period);
    let share = f32(left) / f32(schedule.period);
    return select(half_cosine(share), share, schedule.kind == LINEAR);
}

// (1 - cos(pi x))/2 = sin(pi x/2)^2 for x in 0..1, to rounding: a device's own cosine may be off by 2^-11.
fn half_cosine(x: f32) -> f32 {
    let is_small = x <= 0.5;
    let sine = quarter_sine(select(1.0 - x, x, is_small));
    return select(1.0 - sine * sine, sine * sine, is_small);
}

// sin(pi x/2) for x in 0..1/2, by the series up to the eleventh power.
fn quarter_sine(x: f32) -> f32 {
    let y = 1.57079632679 * x;
    let s = y * y;
    return y * (1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0 * (1.0 - s / 72.0 * (1.0 - s / 110.0)))));
}

// base^exponent by squaring.
fn power(base: f32, exponent: u32) -> f32 {
    var result = 1.0;
    var square = base;
    for (var left = exponent; left != 0u; left >>= 1u) {
        if (left & 1u) != 0u {
            result *= square;
        }
        square *= square;
    }
    return result;
}
