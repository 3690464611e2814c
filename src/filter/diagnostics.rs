//! Innovation statistics of an update.

use std::f64::consts::TAU;

/// Fit of one instrument's observations on one date to the prediction, over one window.
///
/// Conditional on the preceding instruments of the same date (prediction error decomposition, Särkkä & Svensson,
/// *Bayesian Filtering and Smoothing*, 2nd ed., theorem 16.1 and section 16.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Innovation {
    /// Index of the instrument.
    pub instrument: usize,
    /// Scalar values used (pixels × bands present; all columns, where bands are together).
    pub values: usize,
    /// Degrees of freedom of `nis`: pseudo-observations × columns.
    pub dof: usize,
    /// Normalised innovation squared, `Σ‖C⁻¹(z - Hm)‖²`; near `dof` when the model is right.
    pub nis: f64,
    /// Log-likelihood of the values, all constants included.
    pub log_likelihood: f64,
}

impl Innovation {
    pub(super) fn begin(instrument: usize) -> Self {
        Self { instrument, ..Self::default() }
    }

    /// Adds the values of a pixel and its terms of the likelihood outside the pseudo-observations.
    pub(super) fn add_pixel(&mut self, values: usize, left_out: f64, log_det: f64) {
        self.values += values;
        self.log_likelihood -= 0.5 * (left_out + log_det + values as f64 * TAU.ln());
    }

    /// Adds the whitened innovations of a row, one for each column, and the logarithm of the pivot of the factor that
    /// whitened them.
    #[inline]
    pub(super) fn add(&mut self, whitened: &[f64], log_pivot: f64) {
        let square: f64 = whitened.iter().map(|e| e * e).sum();
        self.dof += whitened.len();
        self.nis += square;
        self.log_likelihood -= 0.5 * square + whitened.len() as f64 * log_pivot;
    }
}

/// What one instrument's innovations on one date say about the covariance C of bands that are filtered together, over
/// one window.
///
/// The whitened innovations of a row are one number for each column, `e`. Their log-likelihood in C is
/// `-rows/2 log det C - ½ tr(C⁻¹ Σ e eᵀ) - columns Σ ln pivot + const`; it is largest at `C = Σ e eᵀ / rows` (West &
/// Harrison, *Bayesian Forecasting and Dynamic Models*, 2nd ed., chapter 16). The columns, and this C, are those that
/// the filter has: where bands were multiplied by the inverse factor of a first C, it is a correction of that C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Squares<'a> {
    /// `Σ e eᵀ`: the lower triangle row by row. **Shape** (columns (columns + 1) / 2).
    pub products: &'a [f64],
    /// `Σ ln pivot`: half the log determinant of the innovation covariance of one column.
    pub log_pivots: f64,
    /// Number of rows.
    pub rows: usize,
}

/// Sums of [`Squares`] by group; the memory is reused.
#[derive(Debug, Default)]
pub(super) struct SquareSums {
    /// Numbers per group; 0 where nothing is summed.
    triangle: usize,
    /// **Shape** (groups, triangle).
    products: Vec<f64>,
    /// Sum of the logarithms and number of rows of each group.
    pivots: Vec<(f64, usize)>,
}

impl SquareSums {
    /// Starts sums of `groups` for `columns`, or no sums for 0 columns.
    pub(super) fn begin(&mut self, groups: usize, columns: usize) {
        self.triangle = columns * (columns + 1) / 2;
        self.products.clear();
        self.pivots.clear();
        if columns > 0 {
            self.products.resize(groups * self.triangle, 0.0);
            self.pivots.resize(groups, (0.0, 0));
        }
    }

    /// Adds the whitened innovations of a row and the logarithm of their pivot.
    #[inline]
    pub(super) fn add(&mut self, group: usize, whitened: &[f64], log_pivot: f64) {
        let Some((log_pivots, rows)) = self.pivots.get_mut(group) else { return };
        *log_pivots += log_pivot;
        *rows += 1;
        let mut rest = &mut self.products[group * self.triangle..];
        for (a, x) in whitened.iter().enumerate() {
            let (sums, below) = rest.split_at_mut(a + 1);
            sums.iter_mut().zip(whitened).for_each(|(sum, y)| *sum += x * y);
            rest = below;
        }
    }

    pub(super) fn group(&self, group: usize) -> Option<Squares<'_>> {
        let &(log_pivots, rows) = self.pivots.get(group)?;
        let products = &self.products[group * self.triangle..(group + 1) * self.triangle];
        Some(Squares { products, log_pivots, rows })
    }
}
