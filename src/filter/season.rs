//! Seasonal variation of the process variance.

use std::f64::consts::TAU;

use super::growth::growth;

/// Mean length of a calendar year, in days.
pub(crate) const YEAR_DAYS: f64 = 365.2425;

/// Process variance that depends on the time of year: `K ← exp(cosine cos ω + sine sin ω) K`, where `ω` runs through
/// one turn per year from 1 January.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Season {
    /// Amplitude in the logarithm of the variance; its maximum is in the northern mid-winter.
    pub cosine: f64,
    /// Amplitude in the logarithm of the variance; its maximum is at the beginning of April.
    pub sine: f64,
}

impl Season {
    /// Factor of the process variance on a day, counted from 1970-01-01.
    #[must_use]
    pub fn factor(&self, day: f64) -> f64 {
        let (sin, cos) = (TAU * (day / YEAR_DAYS).rem_euclid(1.0)).sin_cos();
        (self.cosine * cos + self.sine * sin).exp()
    }

    /// The largest factor of all days.
    #[must_use]
    pub fn largest(&self) -> f64 {
        self.cosine.hypot(self.sine).exp()
    }

    /// The variance that a walk with unit daily variance accumulates in the `dt_days` following `day`: `Σ_k φ^2k
    /// f(day + Δt - k)`. Each day has its own factor, so one step of Δt days equals Δt steps of one day. The pair
    /// (`known`, `sum`) holds days already summed and their variance, from which the sum continues.
    pub(super) fn growth(&self, transition: f64, day: f64, (known, mut sum): (f64, f64), dt_days: f64) -> f64 {
        let full_days = dt_days.floor();
        let mut reached = known;
        while reached < full_days {
            reached += 1.0;
            sum = transition * transition * sum + self.factor(day + reached);
        }
        if dt_days > full_days {
            let rest = dt_days - full_days;
            sum = transition.powf(2.0 * rest) * sum + growth(transition, rest) * self.factor(day + dt_days);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::filter::{BlockCov, Dynamics, ProcessBlock, State};

    #[test]
    fn without_amplitude_it_is_the_growth_of_every_day() {
        for (transition, days) in [(1.0, 0.0), (1.0, 7.0), (0.9, 1.0), (0.9, 40.0), (0.0, 3.0), (0.9, 0.25), (1.0, 7.5)]
        {
            let found = Season::default().growth(transition, 100.0, (0.0, 0.0), days);
            assert!((found - growth(transition, days)).abs() < 1e-12, "{transition} {days}");
        }
    }

    #[test]
    fn winter_and_summer_are_half_a_year_apart() {
        let season = Season { cosine: 0.7, sine: -0.2 };
        for day in [0.0, 17.0, 5000.0] {
            let product = season.factor(day) * season.factor(day + YEAR_DAYS / 2.0);
            assert!(
                (product - 1.0).abs() < 1e-9
                    && (season.factor(day + YEAR_DAYS) / season.factor(day) - 1.0).abs() < 1e-9
            );
        }
        assert_eq!(season.factor(0.0), 0.7_f64.exp());
    }

    #[test]
    fn one_long_step_equals_daily_steps() {
        let correlation = |i: usize, j: usize| (-(i.abs_diff(j) as f64) / 2.0).exp();
        let block = |len, transition| ProcessBlock {
            len,
            transition,
            variance: 0.3,
            correlation: Arc::new(BlockCov::dense(len, correlation)),
        };
        let seasons = vec![Season { cosine: 1.0, sine: 0.5 }];
        let mut dynamics = Dynamics::new(vec![block(3, 0.9), block(2, 1.0)]).with_seasons(seasons);
        dynamics.start_at(70.0);
        let mut daily = State::<f64>::new(5);
        (0..5).for_each(|i| daily.cov.set(i, i, 1.0));
        let mut long = daily.clone();
        let before = long.clone();
        let mut ahead = dynamics.clone();
        for dt_days in [3.0, 29.0, 30.0] {
            ahead.look_ahead(dt_days);
            assert_eq!(before.predicted_cov(&ahead, 1, 0, dt_days), before.predicted_cov(&dynamics, 1, 0, dt_days));
        }
        long.predict(&dynamics, 30.0);
        for i in 0..5 {
            for j in 0..5 {
                assert!((before.predicted_cov(&dynamics, i, j, 30.0) - long.cov.get(i, j)).abs() < 1e-13);
            }
        }
        for day in 70..100 {
            dynamics.start_at(f64::from(day));
            daily.predict(&dynamics, 1.0);
        }
        for i in 0..5 {
            for j in 0..5 {
                assert!((daily.cov.get(i, j) - long.cov.get(i, j)).abs() < 1e-12, "{i} {j}");
            }
        }
        assert!((0..365).all(|day| Season { cosine: 1.0, sine: 0.5 }.factor(f64::from(day))
            <= Season { cosine: 1.0, sine: 0.5 }.largest()));
        // The second block has no season.
        assert!((long.cov.get(4, 4) - (1.0 + 30.0 * 0.3)).abs() < 1e-12);
    }
}
