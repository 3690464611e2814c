//! Decay and accumulated variance of an autoregressive process over several days.

/// φ^Δt.
pub(super) fn decay(transition: f64, dt_days: f64) -> f64 {
    if transition == 1.0 { 1.0 } else { transition.powf(dt_days) }
}

/// q(Δt): the variance that a walk with unit daily variance accumulates in Δt days.
///
/// Δt for φ = 1, `(1 - φ^{2Δt}) / (1 - φ²)` otherwise (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd
/// ed., section 4.3: the discretised Ornstein–Uhlenbeck process, scaled to one day). With φ = 0 the state does not
/// depend on the preceding day.
pub(crate) fn growth(transition: f64, dt_days: f64) -> f64 {
    if transition == 1.0 {
        dt_days
    } else if transition == 0.0 {
        // The logarithm below is infinite.
        if dt_days == 0.0 { 0.0 } else { 1.0 }
    } else {
        // exp_m1 and the factored denominator preserve precision when φ is close to 1.
        -f64::exp_m1(2.0 * dt_days * transition.ln()) / ((1.0 - transition) * (1.0 + transition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_memory_a_day_brings_all_and_no_time_nothing() {
        for (transition, dt_days, decayed, grown) in [
            (0.0, 0.0, 1.0, 0.0),
            (0.0, 1.0, 0.0, 1.0),
            (0.0, 7.0, 0.0, 1.0),
            (0.5, 0.0, 1.0, 0.0),
            (1.0, 0.0, 1.0, 0.0),
        ] {
            assert_eq!((decay(transition, dt_days), growth(transition, dt_days)), (decayed, grown));
        }
    }
}
