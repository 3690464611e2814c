//! Stored numbers that look like fill values which nothing declares, or that float64 does not hold.

use super::extremes::frequent;
use super::stored::{Destination, converted};
use crate::geometry::PixelRegion;
use crate::source::calibration::Converter;

/// Largest float that can be a value: nothing on Earth is measured in such numbers, and fill values are.
const LARGEST_FLOAT: f64 = 1e30;

/// Largest integer that float64 holds with all that are smaller, and that no larger one is rounded to.
const LARGEST_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Stored numbers of a band that may be fill values which nothing declares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Odd {
    /// One beyond the largest that can be a value.
    pub(super) strange: Option<f64>,
    /// The extreme of the type, where it is frequent.
    pub(super) extreme: Option<f64>,
    /// Scale and offset from stored numbers to values.
    line: (f64, f64),
    limit: f64,
    pub(super) float: bool,
}

impl Odd {
    /// Nothing yet, of numbers that are converted along a line: floats, or integers. A range that holds `everything` is
    /// there to count what it holds.
    pub(super) fn new(line: (f64, f64), float: bool, everything: bool) -> Self {
        let largest = if float { LARGEST_FLOAT } else { LARGEST_INTEGER };
        let limit = if everything { f64::INFINITY } else { largest };
        Self { line, limit, float, ..Self::default() }
    }

    /// Largest number that can be a value.
    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// Converts the stored numbers of a part, and notes which of the type's extremes looks like a fill value.
    pub(super) fn watch<T: Copy + Into<f64>>(
        &mut self,
        values: &[T],
        extremes: [f64; 2],
        (part, converter, target): (&PixelRegion, Converter<'_>, Destination<'_>),
    ) {
        self.extreme = frequent(values, extremes, |stored| converter.is_value(stored));
        self.strange = converted(values, part, converter, target);
    }

    /// What is odd in one part or in another.
    pub(super) fn or(self, other: Self) -> Self {
        Self { strange: self.strange.or(other.strange), extreme: self.extreme.or(other.extreme), ..other }
    }

    /// What is still odd among the values that masks leave.
    pub(super) fn among(self, values: &[f64]) -> Self {
        let (scale, offset) = self.line;
        let beyond = |value: &f64| Some((value - offset) / scale).filter(|stored| stored.abs() > self.limit);
        let strange = self.strange.and_then(|_| values.iter().find_map(beyond));
        let left = |stored: &f64| frequent(values, [scale * stored + offset, f64::NAN], |_| true).is_some();
        Self { strange, extreme: self.extreme.filter(left), ..self }
    }
}
