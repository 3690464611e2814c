//! Sums of errors: their number, mean, mean magnitude and root mean square.

/// The sums of errors, in u.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorSums {
    values: u64,
    errors: f64,
    magnitudes: f64,
    squares: f64,
}

impl ErrorSums {
    pub(crate) fn add(&mut self, error: f64) {
        self.values += 1;
        self.errors += error;
        self.magnitudes += error.abs();
        self.squares += error * error;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.values += other.values;
        self.errors += other.errors;
        self.magnitudes += other.magnitudes;
        self.squares += other.squares;
    }

    pub(crate) fn values(&self) -> u64 {
        self.values
    }

    /// Root of the mean square; NaN without errors, as the others.
    pub(crate) fn rmse(&self) -> f64 {
        (self.squares / self.values as f64).sqrt()
    }

    /// Mean error.
    pub(crate) fn bias(&self) -> f64 {
        self.errors / self.values as f64
    }

    /// Mean absolute error.
    pub(crate) fn mae(&self) -> f64 {
        self.magnitudes / self.values as f64
    }
}
