//! Harmonics of a period.

use std::f64::consts::TAU;

use crate::geometry::Date;

/// Days of a year of the Gregorian calendar, on average.
pub(crate) use crate::filter::YEAR_DAYS;

/// Days from 1970-01-01 to 2000-01-01, the reference date of phases.
const REFERENCE: i32 = 10_957;

/// The curve of a period: a mean, and sines and cosines with 1 to `count` cycles per period.
///
/// `μ(t) = c_0 + Σ_h c_{2h−1} cos(2π h τ) + c_{2h} sin(2π h τ)` with `τ = (t − reference) / period`.
///
/// ```
/// use rasterfuse::geometry::Date;
/// use rasterfuse::seasonal::Harmonics;
/// let harmonics = Harmonics::new(2, 360.0);
/// let mut terms = vec![0.0; harmonics.terms()];
/// harmonics.evaluate(harmonics.reference() + 90, &mut terms);
/// assert!(terms.iter().zip([1.0, 0.0, 1.0, -1.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Harmonics {
    count: usize,
    period_days: f64,
    reference: Date,
}

impl Harmonics {
    /// Harmonics of a period in days, with phases that start on 2000-01-01.
    #[must_use]
    pub fn new(count: usize, period_days: f64) -> Self {
        Self { count, period_days, reference: Date::from_days(REFERENCE) }
    }

    /// The same harmonics with phases that start on another day.
    #[cfg(feature = "zarr")]
    #[must_use]
    pub(crate) fn with_reference(self, reference: Date) -> Self {
        Self { reference, ..self }
    }

    /// Number of harmonics.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The period in days.
    #[must_use]
    pub fn period_days(&self) -> f64 {
        self.period_days
    }

    /// The day on which phases start.
    #[must_use]
    pub fn reference(&self) -> Date {
        self.reference
    }

    /// Number of terms: the mean, and two of each harmonic.
    #[must_use]
    pub fn terms(&self) -> usize {
        1 + 2 * self.count
    }

    /// Names of the terms: `mean`, `cos1`, `sin1`, `cos2`, …
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let pairs = (1..=self.count).flat_map(|h| [format!("cos{h}"), format!("sin{h}")]);
        std::iter::once("mean".to_owned()).chain(pairs)
    }

    /// The factor of each coefficient on a date; `terms` has length [`terms`](Self::terms).
    pub fn evaluate(&self, date: Date, terms: &mut [f64]) {
        let years = f64::from(date.days_since(self.reference)) / self.period_days;
        if let Some((mean, pairs)) = terms.split_first_mut() {
            *mean = 1.0;
            for (k, pair) in pairs.chunks_exact_mut(2).enumerate() {
                // Only the fraction of the period is used, so angles stay small in every century.
                let (sin, cos) = (TAU * ((k + 1) as f64 * years).rem_euclid(1.0)).sin_cos();
                pair.copy_from_slice(&[cos, sin]);
            }
        }
    }

    /// The harmonic of a term; 0 for the mean.
    pub(crate) fn order(term: usize) -> usize {
        term.div_ceil(2)
    }
}
