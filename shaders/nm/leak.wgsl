// What an update leaves of the scaled dual U, which is the dual over rho: c = delta rho/next_rho, and never more than 1, so
// that T = Z - U tells what is kept. Where no automatic rho was chosen yet there is no penalty, and so no dual.
fn leak_of(settings: Settings) -> f32 {
    if settings.rho == settings.next_rho {
        return select(settings.leak, 0.0, settings.gain > 0.0 && settings.rho == 0.0);
    }
    let scaled = settings.leak * settings.rho;
    return select(1.0, scaled / settings.next_rho, scaled < settings.next_rho);
}
