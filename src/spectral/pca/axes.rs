//! From a covariance matrix to the significant components.

use faer::{Mat, Side};

use super::ComponentCount;
use crate::error::{Error, Result};

/// The significant principal axes of a covariance.
pub(super) struct PrincipalAxes {
    /// Orthonormal columns, **shape** (band, component).
    pub(super) matrix: Mat<f64>,
    /// Variance along each of them, in u², largest first.
    pub(super) variances: Vec<f64>,
    /// Variance of all axes that exceed the noise, in u².
    pub(super) total: f64,
}

/// Principal axes of a covariance of `pixels` spectra in units of `scale`, converted to u.
///
/// With `noisy`, `scale` is the standard deviation of the noise, and the scaled covariance is `I + signal`. An
/// eigenvalue above 1 is signal if pure noise in this number of pixels would exceed it in fewer than one of a hundred
/// scenes.
pub(super) fn find(
    cov: &Mat<f64>,
    scale: &[f64],
    noisy: bool,
    pixels: u64,
    choice: ComponentCount,
) -> Result<PrincipalAxes> {
    let bands = scale.len();
    let scaled = Mat::from_fn(bands, bands, |a, b| cov[(a, b)] / (scale[a] * scale[b]));
    let eigen = scaled.self_adjoint_eigen(Side::Lower).map_err(|_| no_axes())?;
    let (vectors, values) = (eigen.U(), eigen.S().column_vector());
    let noise = if noisy { 1.0 } else { 0.0 };
    let largest = values[bands - 1];
    let least = if noisy { noise_edge(bands, pixels) } else { largest * bands as f64 * f64::EPSILON };

    // Largest first: (position, contribution to the variance in u²).
    let signal: Vec<(usize, f64)> = (0..bands)
        .rev()
        .filter(|&k| values[k] > least)
        .map(|k| {
            let length: f64 = (0..bands).map(|band| (scale[band] * vectors[(band, k)]).powi(2)).sum();
            (k, (values[k] - noise) * length)
        })
        .collect();
    let total: f64 = signal.iter().map(|(_, variance)| variance).sum();
    let count = choice.count(&signal, total, noisy)?;

    // Axes that are orthonormal in u span the same space: the left singular vectors of the square root of the signal.
    let root = Mat::from_fn(bands, count, |band, j| {
        let k = signal[j].0;
        scale[band] * vectors[(band, k)] * (values[k] - noise).sqrt()
    });
    let svd = root.thin_svd().map_err(|_| no_axes())?;
    let variances = svd.S().column_vector().iter().map(|value| value * value).collect();
    let mut matrix = svd.U().to_owned();
    for j in 0..count {
        // The sign of an axis is arbitrary; its largest entry is made positive.
        let column = matrix.col_as_slice_mut(j);
        let larger = |most: f64, value: &f64| if value.abs() > most.abs() { *value } else { most };
        if column.iter().fold(0.0, larger) < 0.0 {
            column.iter_mut().for_each(|value| *value = -*value);
        }
    }
    Ok(PrincipalAxes { matrix, variances, total })
}

impl ComponentCount {
    /// The number of axes to use, of those that hold signal.
    fn count(self, signal: &[(usize, f64)], total: f64, noisy: bool) -> Result<usize> {
        let held = signal.len();
        let above = if noisy { "stand out of the noise" } else { "have any variance" };
        match self {
            _ if held == 0 => {
                let advice = if noisy { "; give a smaller noise_variance" } else { "; all pixels are the same" };
                Err(Error::setting("components", format!("none {above}{advice}")))
            }
            Self::Fixed(count) if count > held => {
                let advice = if noisy { ", or give a smaller noise_variance" } else { "" };
                Err(Error::setting(
                    "components",
                    format!("{count}, but only {held} {above}; ask for at most {held}{advice}"),
                ))
            }
            Self::Fixed(count) => Ok(count),
            Self::Explained(share) => {
                let mut sum = 0.0;
                let enough = signal.iter().position(|(_, variance)| {
                    sum += variance;
                    sum >= share * total
                });
                Ok(enough.map_or(held, |last| last + 1))
            }
        }
    }
}

/// The 99 % quantile of the largest eigenvalue of a sample covariance of white noise with unit variance: Johnstone,
/// Annals of Statistics 29 (2001), theorem 1.1, with the 99 % point of the Tracy-Widom distribution.
fn noise_edge(bands: usize, pixels: u64) -> f64 {
    const TRACY_WIDOM_99: f64 = 2.02;
    let (degrees, bands) = (pixels as f64 - 1.0, bands as f64);
    let root = (degrees - 1.0).max(1.0).sqrt();
    let sum = root + bands.sqrt();
    let spread = sum * (root.recip() + bands.sqrt().recip()).cbrt();
    (sum * sum + TRACY_WIDOM_99 * spread) / degrees
}

fn no_axes() -> Error {
    Error::setting(
        "components",
        "the covariance has no principal axes that float64 can find; hide absurd values (valid_range)",
    )
}
