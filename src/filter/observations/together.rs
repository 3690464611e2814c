//! Rows that observe several columns at once: bands that share gain and covariance.

use super::{Channel, Observations, PixelRows, push_channel};

impl Observations {
    /// Sets the number of columns: the means that each row observes. It is 1 unless set, and stays when the
    /// observations are cleared.
    ///
    /// # Panics
    /// When there are rows already, or no columns.
    pub fn set_columns(&mut self, columns: usize) {
        assert!(self.pixels.is_empty() && columns > 0, "columns before rows, at least one");
        self.further = columns - 1;
    }

    /// Number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.further + 1
    }

    /// Asks for the [squares](super::super::Workspace::squares) of updates with one column, too. Those with several
    /// columns always give them.
    pub fn sum_squares(&mut self, on: bool) {
        self.sum_squares = on;
    }

    /// Number of columns of which the update sums squares.
    pub(in crate::filter) fn squares_of(&self) -> usize {
        if self.sum_squares || self.further > 0 { self.columns() } else { 0 }
    }

    /// Adds a pixel of the current instrument that observes the same `channel` (or the sum of several) in every
    /// column: `values[c] = H m_c + ε_c`, `ε ~ N(0, noise_variance I)`. The columns are whitened: independent given the
    /// covariance, and of unit scale. `log_det` is added to the log determinant of the likelihood; for values that were
    /// whitened by `C = L Lᵀ`, `log det C` makes it the likelihood of the values before.
    ///
    /// # Panics
    /// When the number of `values` differs from the number of columns, `noise_variance` is not positive and finite, or
    /// no group was begun.
    pub fn push_together<'c>(
        &mut self,
        noise_variance: f64,
        log_det: f64,
        channel: impl IntoIterator<Item = Channel<'c>>,
        values: &[f64],
    ) {
        assert_eq!(values.len(), self.columns(), "one value per column");
        assert!(noise_variance > 0.0 && noise_variance.is_finite(), "a positive variance");
        assert!(!self.groups.is_empty(), "a group");
        let first = self.len();
        self.begin_rows();
        self.z.extend_from_slice(values);
        push_channel(&mut self.states, &mut self.weights, channel, 1.0);
        self.end_row(&[noise_variance]);
        let information = noise_variance.recip();
        self.end_pixel(PixelRows { rows: first..first + 1, values: values.len(), left_out: 0.0, log_det, information });
    }

    /// Adds a probe: a pixel of the current instrument whose columns are to be predicted
    /// ([`State::predicted_together`](super::super::State::predicted_together)), not assimilated.
    ///
    /// # Panics
    /// When no group was begun.
    pub fn push_together_probe<'c>(&mut self, channel: impl IntoIterator<Item = Channel<'c>>) {
        let mut values = std::mem::take(&mut self.probe);
        values.clear();
        values.resize(self.columns(), 1.0);
        self.push_together(1.0, 0.0, channel, &values);
        self.probe = values;
    }
}
