//! What baselines know of one withheld value, and what they predict from it.

use crate::validate::predictor::Baseline;

/// Largest number of days to the next clear value. Without it values could wait for one as long as the series is.
pub(super) const FARTHEST_DAYS: i32 = 366;

/// Number of baselines.
pub(super) const BASELINES: usize = Baseline::ALL.len();

/// A value and its day; NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dated {
    pub(super) day: i32,
    pub(super) value: f64,
}

impl Dated {
    pub(super) const NONE: Self = Self { day: 0, value: f64::NAN };

    pub(super) fn is_known(self) -> bool {
        !self.value.is_nan()
    }

    /// Becomes `other` where that is nearer to `day`, or the only one.
    pub(super) fn take_nearer(&mut self, other: Self, day: i32) {
        if !self.is_known() || (other.day - day).abs() < (self.day - day).abs() {
            *self = other;
        }
    }
}

/// The straight line between two values on a day; where one is missing the other, NaN where both are.
pub(super) fn between(last: Dated, next: Dated, day: i32) -> f64 {
    match (last.is_known(), next.is_known()) {
        (true, true) => {
            last.value + (next.value - last.value) * f64::from(day - last.day) / f64::from(next.day - last.day)
        }
        (true, false) => last.value,
        (false, _) => next.value,
    }
}

/// What baselines know of a value that was withheld on `day`; NaN for what does not exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    pub(super) day: i32,
    /// Clear values of the pixel before and after.
    pub(super) last: Dated,
    pub(super) next: Dated,
    /// Of the coarser instrument: the value nearest to `last`, the latest one up to `day`, the one nearest to `next`.
    pub(super) coarse_last: f64,
    pub(super) coarse: f64,
    pub(super) coarse_next: f64,
    /// Mean of value - baseline over the clear pixels of the date, for the last value and for the line.
    pub(super) residuals: [f64; 2],
}

impl Evidence {
    /// The prediction of each of [`Baseline::ALL`]; NaN where it does not exist.
    pub(super) fn predictions(&self) -> [f64; BASELINES] {
        let Self { day, last, next, coarse_last, coarse, coarse_next, residuals } = *self;
        let linear = between(last, next, day);
        let coarse_line = between(Dated { value: coarse_last, ..last }, Dated { value: coarse_next, ..next }, day);
        Baseline::ALL.map(|baseline| match baseline {
            Baseline::Last => last.value,
            Baseline::Linear => linear,
            Baseline::LastResidual => last.value + residuals[0],
            Baseline::LinearResidual => linear + residuals[1],
            Baseline::LastCoarse => last.value + coarse - coarse_last,
            Baseline::LinearCoarse => linear + coarse - coarse_line,
        })
    }
}
