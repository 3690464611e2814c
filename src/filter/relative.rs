//! Process noise in proportion to the level of a state.

/// Change in proportion to level: `K(s, s') ← g(s) g(s') K(s, s')`, `g(s)² = 1 - weight + weight (value(s) / level)²`.
///
/// Dark surfaces change less than bright ones. At `value = level` the covariance is unchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relative {
    /// Share of the variance that is proportional to the squared level, in [0, 1].
    pub weight: f64,
    /// The level at which the process variance applies unchanged, in u; positive.
    pub level: f64,
}

impl Relative {
    /// g for a value.
    #[must_use]
    pub fn factor(&self, value: f64) -> f64 {
        (1.0 - self.weight + self.weight * (value / self.level).powi(2)).sqrt()
    }
}
