//! Several means with one covariance: bands that are filtered together.
//!
//! The states of the bands of a group, `X` (states × bands), are matrix-normal, `X ~ MN(M, P, C)`: one gain and one
//! covariance P of states serve all bands, whose covariance is C (Quintana & West, *The Statistician* 36, 1987; West &
//! Harrison, *Bayesian Forecasting and Dynamic Models*, 2nd ed., chapter 16). The caller multiplies bands by `L⁻¹`, `C
//! = L Lᵀ`; what the filter has are the columns of `X L⁻ᵀ`, independent given P and of unit scale.

use super::{Dynamics, Observations, Real, State};

impl<T: Real> State<T> {
    /// Adds `columns` further means of zeros with the same covariance. Predictions, updates and lags are of all means.
    ///
    /// [Levels](Self::take_factors) of relative noise are those of the first mean.
    ///
    /// # Panics
    /// When the state has a history, or has stored lagged states.
    #[must_use]
    pub fn with_parallel(mut self, columns: usize) -> Self {
        assert!(self.history.is_none(), "no history");
        assert_eq!(self.lags.len(), 0, "nothing stored yet");
        self.parallel = vec![0.0; columns * self.n()];
        self.lags.set_further(columns);
        self
    }

    /// Number of means beside the first.
    #[must_use]
    pub fn further(&self) -> usize {
        self.parallel.len().checked_div(self.n()).unwrap_or(0)
    }

    /// Number of means: 1 without further ones.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.further() + 1
    }

    /// Mean of a column; column 0 is [`mean`](Self::mean). **Shape** (states).
    ///
    /// # Panics
    /// When there is no such column.
    #[must_use]
    pub fn column(&self, column: usize) -> &[f64] {
        let n = self.n();
        column.checked_sub(1).map_or(&self.mean, |further| &self.parallel[further * n..(further + 1) * n])
    }

    /// Mean of a column, mutable.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn column_mut(&mut self, column: usize) -> &mut [f64] {
        let n = self.n();
        match column.checked_sub(1) {
            None => &mut self.mean,
            Some(further) => &mut self.parallel[further * n..(further + 1) * n],
        }
    }

    /// Predicted mean of state `i` in a column (0 is the first mean), `dt_days` ahead. The state is unchanged.
    ///
    /// # Panics
    /// When there is no such column.
    #[must_use]
    pub fn predicted_parallel(&self, dynamics: &Dynamics, column: usize, i: usize, dt_days: f64) -> f64 {
        dynamics.transition(i, dt_days) * self.column(column)[i]
    }

    /// The prediction of a [probe](Observations::push_together_probe), without noise: writes `H m` of each column to
    /// `means` and returns the variance `H P Hᵀ`, which all columns share. `pixel` counts over all groups.
    ///
    /// # Panics
    /// When `means` does not have one entry per column.
    pub fn predicted_together(&self, observations: &Observations, pixel: usize, means: &mut [f64]) -> f64 {
        assert_eq!(means.len(), self.columns(), "one mean per column");
        let row = observations.pixel(pixel).rows.start;
        for (column, predicted) in means.iter_mut().enumerate() {
            let mean = self.column(column);
            *predicted = observations.row(row).map(|(i, a)| a * mean[i]).sum();
        }
        self.row_variance(observations, row)
    }

    /// Memory of `further` means beside the first, of a state of `n` entries with `lagged` of them stored at `lag`
    /// times: in addition to [`bytes`](Self::bytes).
    #[must_use]
    pub fn further_bytes(n: usize, lagged: usize, lag: usize, further: usize) -> u64 {
        (further * (n + lag * lagged) * size_of::<f64>()) as u64
    }
}

#[cfg(test)]
mod tests;
