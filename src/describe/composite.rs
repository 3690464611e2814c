//! Days over which the pixels of a product are averages.

use serde::{Deserialize, Serialize};

/// The days over which the values of a product are averages: its temporal footprint. The table `composite`.
///
/// A composite of `n` days observes `Σ_k w_k H x(t − k)`, `t` the last day of its window, weights that sum to 1. It counts
/// on that last day, so that no result rests on what was not known yet.
///
/// ```
/// use rasterfuse::describe::Composite;
/// // Dated by the ninth of sixteen days, as MCD43A4: seven more days belong to it.
/// let composite = Composite::new(16);
/// // Dated by its first day, as MOD09A1.
/// let of_eight = Composite::new(8).centre(0.0);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Composite {
    /// Days of the window; 1 is none.
    pub days: usize,
    /// Where in its window the date of a file lies: 0 its first day, 1 its last.
    #[serde(default = "middle")]
    pub centre: f64,
    /// Weight of each day, the first day of the window first; equal by default. They are divided by their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Vec<f64>>,
    /// Days between the states that stand for the past; the scene between them is interpolated. 1 is exact. By default
    /// there are at most four such states for each pixel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<usize>,
}

const fn middle() -> f64 {
    0.5
}

impl Composite {
    /// A mean over so many days, dated by the middle of them.
    #[must_use]
    pub fn new(days: usize) -> Self {
        Self { days, centre: middle(), weights: None, every: None }
    }

    /// Where in its window the date of a file lies: 0 its first day, 1 its last; default 0.5.
    #[must_use]
    pub fn centre(mut self, centre: f64) -> Self {
        self.centre = centre;
        self
    }

    /// Weight of each day, the first day of the window first; default equal weights.
    #[must_use]
    pub fn weights(mut self, weights: impl Into<Vec<f64>>) -> Self {
        self.weights = Some(weights.into());
        self
    }

    /// Days between the states that stand for the past: 1 is exact, more costs less. By default at most four states for
    /// each pixel.
    #[must_use]
    pub fn every(mut self, days: usize) -> Self {
        self.every = Some(days);
        self
    }
}
