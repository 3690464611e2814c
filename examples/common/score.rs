//! How far values are from what they should be, and how honest their standard deviations are.

use std::ops::AddAssign;

/// Half the width of the central 90 % of a Gaussian, in standard deviations.
pub(crate) const Z90: f64 = 1.645;

/// Sums over what is compared. What either side lacks does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Score {
    values: f64,
    error: f64,
    squared_error: f64,
    sd: f64,
    inside: f64,
}

impl Score {
    /// Of values without a standard deviation.
    pub(crate) fn of<'a>(
        values: impl IntoIterator<Item = &'a f64>,
        expected: impl IntoIterator<Item = &'a f64>,
    ) -> Self {
        let mut score = Self::default();
        values.into_iter().zip(expected).for_each(|(value, expected)| score.add(*value, f64::NAN, *expected));
        score
    }

    /// Of values with their standard deviations, all in the same order.
    pub(crate) fn of_estimates<'a>(
        means: impl IntoIterator<Item = &'a f64>,
        sds: impl IntoIterator<Item = &'a f64>,
        expected: impl IntoIterator<Item = &'a f64>,
    ) -> Self {
        let mut score = Self::default();
        let estimates = means.into_iter().zip(sds);
        estimates.zip(expected).for_each(|((mean, sd), expected)| score.add(*mean, *sd, *expected));
        score
    }

    /// One more value.
    pub(crate) fn add(&mut self, value: f64, sd: f64, expected: f64) {
        let error = value - expected;
        if error.is_nan() {
            return;
        }
        let inside = f64::from(error.abs() <= Z90 * sd);
        *self += Self { values: 1.0, error, squared_error: error * error, sd, inside };
    }

    /// How many values were compared.
    pub(crate) fn count(&self) -> usize {
        self.values as usize
    }

    /// Root of the mean squared error.
    pub(crate) fn rmse(&self) -> f64 {
        (self.squared_error / self.values).sqrt()
    }

    /// Mean error.
    pub(crate) fn bias(&self) -> f64 {
        self.error / self.values
    }

    /// Mean standard deviation.
    pub(crate) fn mean_sd(&self) -> f64 {
        self.sd / self.values
    }

    /// Share of 90 % intervals that hold what they should.
    pub(crate) fn coverage(&self) -> f64 {
        self.inside / self.values
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.values += other.values;
        self.error += other.error;
        self.squared_error += other.squared_error;
        self.sd += other.sd;
        self.inside += other.inside;
    }
}
