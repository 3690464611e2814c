//! Kriging: interpolation of noisy values by a Gaussian field.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// A Gaussian field with exponential correlation, `spread² exp(-d / range)`, observed at some points with noise
/// (Cressie, *Statistics for Spatial Data*, revised ed., section 3.4.5).
#[derive(Clone, Debug)]
pub(crate) struct Kriging {
    range: f64,
    /// Variance.
    spread: f64,
    points: Vec<(f64, f64)>,
    factor: Cholesky<f64, Dyn>,
}

impl Kriging {
    /// A field with this range and standard deviation; `noise` is the standard deviation of the noise at each point.
    /// `None` where points are too close to be distinguished.
    pub(crate) fn new(points: Vec<(f64, f64)>, noise: &[f64], range: f64, sd: f64) -> Option<Self> {
        let spread = sd * sd;
        let entry = |i: usize, j: usize| {
            let noise = if i == j { noise[i] * noise[i] } else { 0.0 };
            spread * exponential(points[i], points[j], range) + noise
        };
        let factor = Cholesky::new(DMatrix::from_fn(points.len(), points.len(), entry))?;
        Some(Self { range, spread, points, factor })
    }

    /// Mean of the field by generalised least squares; 0 without data.
    pub(crate) fn mean(&self, values: &DVector<f64>) -> f64 {
        let weights = self.factor.solve(&DVector::repeat(values.len(), 1.0));
        if values.is_empty() { 0.0 } else { weights.dot(values) / weights.sum() }
    }

    /// Weights of the departures from the mean. The field elsewhere is their sum, each times its
    /// [covariance](Self::covariances).
    pub(crate) fn weights(&self, departures: &DVector<f64>) -> DVector<f64> {
        self.factor.solve(departures)
    }

    /// Covariances between the field at a point and the field at each observed point.
    pub(crate) fn covariances(&self, point: (f64, f64)) -> DVector<f64> {
        let observed = self.points.iter().map(|&observed| self.spread * exponential(observed, point, self.range));
        DVector::from_iterator(self.points.len(), observed)
    }

    /// The log-likelihood, up to a constant.
    pub(crate) fn log_likelihood(&self, departures: &DVector<f64>) -> f64 {
        let log_det: f64 = self.factor.l_dirty().diagonal().iter().map(|value| 2.0 * value.ln()).sum();
        -0.5 * (log_det + departures.dot(&self.factor.solve(departures)))
    }
}

/// `exp(-d / range)`.
fn exponential((x, y): (f64, f64), (other_x, other_y): (f64, f64), range: f64) -> f64 {
    (-(x - other_x).hypot(y - other_y) / range).exp()
}
