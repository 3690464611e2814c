//! What a band of an exported file holds.

use serde::Serialize;

/// Sums of a band of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BandStatistics {
    /// Name of the band in the file.
    pub name: String,
    /// Cells that hold a value.
    pub valid: u64,
    /// All cells.
    pub cells: u64,
    /// Smallest value, in u; infinite without values.
    pub minimum: f64,
    /// Largest value, in u; negative infinite without values.
    pub maximum: f64,
    /// Mean over the cells, in u; 0 without values.
    pub mean: f64,
    /// Sum of the squared differences from the mean.
    #[serde(skip)]
    squares: f64,
}

impl BandStatistics {
    pub(super) fn new(name: String) -> Self {
        let (minimum, maximum) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { name, valid: 0, cells: 0, minimum, maximum, mean: 0.0, squares: 0.0 }
    }

    /// Adds a value, or that there is none; by Welford's recursion, which cancels no digits.
    pub(super) fn add(&mut self, value: f32) {
        self.cells += 1;
        if value.is_nan() {
            return;
        }
        let value = f64::from(value);
        self.valid += 1;
        (self.minimum, self.maximum) = (self.minimum.min(value), self.maximum.max(value));
        let before = value - self.mean;
        self.mean += before / self.valid as f64;
        self.squares += before * (value - self.mean);
    }

    /// Standard deviation over the cells, in u.
    pub(super) fn spread(&self) -> f64 {
        (self.squares / self.valid.max(1) as f64).sqrt()
    }
}
