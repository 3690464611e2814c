use std::collections::HashMap;
use std::rc::Rc;

use nalgebra::{DMatrix, DVector};

/// Patterns of missing bands a cache keeps; beyond that it starts anew. Clouds drop whole pixels, so few patterns recur.
const CACHED_PATTERNS: usize = 256;

/// What the bands of an instrument's pixel measure: `y = M u + c + ε`, `ε ~ N(0, diag v)`.
///
/// `u` are the pixel's *channels*, each a sparse combination of states ([`Channel`](super::Channel)): for a field with `p`
/// components, its `p` footprint averages.
#[derive(Clone, Debug, PartialEq)]
pub struct BandModel {
    /// M, row-major. **Shape** (bands, channels).
    design: Vec<f64>,
    noise_variance: Vec<f64>,
    offset: Vec<f64>,
    channels: usize,
}

impl BandModel {
    /// `design` is M row by row (**shape** (bands, channels)), `noise_variance` v (u²) and `offset` c (u) have one entry
    /// per band.
    ///
    /// # Panics
    /// When the lengths do not match, a number is not finite or a variance not positive.
    #[must_use]
    pub fn new(design: Vec<f64>, noise_variance: Vec<f64>, offset: Vec<f64>) -> Self {
        assert_eq!(noise_variance.len(), offset.len(), "one variance and one offset per band");
        assert!(design.len().is_multiple_of(offset.len().max(1)), "one row of the design per band");
        assert!(design.iter().chain(&offset).all(|v| v.is_finite()), "finite design and offsets");
        assert!(noise_variance.iter().all(|v| *v > 0.0 && v.is_finite()), "positive variances");
        let channels = design.len() / noise_variance.len().max(1);
        Self { design, noise_variance, offset, channels }
    }

    /// Number of bands.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.offset.len()
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn offset(&self, band: usize) -> f64 {
        self.offset[band]
    }
}

/// Lossless compression of the bands of one pixel to at most as many pseudo-observations as it has channels.
///
/// With `W = V^{-1/2} M` of the bands present and an orthonormal basis `U` of its columns' span, `z = Uᵀ V^{-1/2} (y - c)` is
/// an observation of `Uᵀ W u` with unit noise that carries all that `y` says about `u`; what it leaves out enters only the
/// likelihood (model document, "spectral compression").
#[derive(Clone, Debug)]
pub struct Compression {
    /// Indices of the bands present.
    present: Vec<usize>,
    /// `v^{-1/2}` of the bands present.
    whitening: Vec<f64>,
    /// U. **Shape** (bands present, rank).
    basis: DMatrix<f64>,
    /// `Uᵀ W`. **Shape** (rank, channels).
    operator: DMatrix<f64>,
    log_det_noise: f64,
}

impl Compression {
    /// The compression for the given bands present.
    #[must_use]
    pub fn new(model: &BandModel, present: Vec<usize>) -> Self {
        let whitening: Vec<f64> = present.iter().map(|&band| model.noise_variance[band].sqrt().recip()).collect();
        let whitened = DMatrix::from_fn(present.len(), model.channels, |row, channel| {
            whitening[row] * model.design[present[row] * model.channels + channel]
        });
        let basis = orthonormal_basis(&whitened);
        let operator = basis.tr_mul(&whitened);
        let log_det_noise = present.iter().map(|&band| model.noise_variance[band].ln()).sum();
        Self { present, whitening, basis, operator, log_det_noise }
    }

    /// Number of pseudo-observations.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.operator.nrows()
    }

    /// Number of bands present.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.present.len()
    }

    /// Row `k` of `Uᵀ W`: the weight of each channel in pseudo-observation `k`.
    pub(super) fn weight(&self, k: usize, channel: usize) -> f64 {
        self.operator[(k, channel)]
    }

    /// `log det V` of the bands present.
    pub(super) fn log_det_noise(&self) -> f64 {
        self.log_det_noise
    }

    /// Pseudo-observations `z` of the residuals `y - c` (all bands), and the squared norm of what they leave out.
    pub(super) fn project(&self, model: &BandModel, values: &[f64]) -> (DVector<f64>, f64) {
        let whitened = DVector::from_iterator(
            self.present.len(),
            self.present.iter().zip(&self.whitening).map(|(&band, w)| w * (values[band] - model.offset(band))),
        );
        let z = self.basis.tr_mul(&whitened);
        let left_out = (whitened - &self.basis * &z).norm_squared();
        (z, left_out)
    }
}

/// Whether every band sees at most one channel.
fn is_disjoint(matrix: &DMatrix<f64>) -> bool {
    matrix.row_iter().all(|row| row.iter().filter(|v| **v != 0.0).count() <= 1)
}

/// An orthonormal basis of the columns' span, **shape** (rows, rank).
///
/// Bands that each see one channel (the usual case without a spectral basis) keep one pseudo-observation per channel, so
/// that the update stays sparse; otherwise the left singular vectors, rank by the usual tolerance.
fn orthonormal_basis(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    if is_disjoint(matrix) {
        let columns: Vec<_> =
            matrix.column_iter().filter(|c| c.iter().any(|v| *v != 0.0)).map(|c| c.normalize()).collect();
        return if columns.is_empty() { DMatrix::zeros(matrix.nrows(), 0) } else { DMatrix::from_columns(&columns) };
    }
    let svd = matrix.clone().svd(true, false);
    let largest = svd.singular_values.amax();
    let tolerance = largest * f64::EPSILON * matrix.nrows().max(matrix.ncols()) as f64;
    let Some(u) = svd.u else { return DMatrix::zeros(matrix.nrows(), 0) };
    let kept: Vec<usize> = (0..u.ncols()).filter(|&k| svd.singular_values[k] > tolerance).collect();
    u.select_columns(&kept)
}

/// Compressions by instrument and pattern of missing bands. One cache serves one set of band models.
#[derive(Debug, Default)]
pub struct CompressionCache {
    entries: HashMap<(usize, Vec<usize>), Rc<Compression>>,
}

impl CompressionCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The compression of `instrument`'s bands `present`, made when it is not at hand.
    pub(super) fn get(&mut self, instrument: usize, model: &BandModel, present: &[usize]) -> Rc<Compression> {
        let key = (instrument, present.to_vec());
        if let Some(found) = self.entries.get(&key) {
            return Rc::clone(found);
        }
        if self.entries.len() >= CACHED_PATTERNS {
            self.entries.clear();
        }
        let made = Rc::new(Compression::new(model, present.to_vec()));
        self.entries.insert(key, Rc::clone(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Information and likelihood terms of the compressed pixel against those of its bands.
    fn check(design: &[f64], noise: &[f64], values: &[f64], rank: usize) {
        let bands = noise.len();
        let model = BandModel::new(design.to_vec(), noise.to_vec(), vec![0.01; bands]);
        let present: Vec<usize> = (0..bands).filter(|&b| values[b].is_finite()).collect();
        let compression = Compression::new(&model, present.clone());
        assert_eq!(compression.rank(), rank);
        let (z, left_out) = compression.project(&model, values);
        let q = model.channels();
        let at = |b: usize, c: usize| design[b * q + c];
        for c in 0..q {
            let direct: f64 = present.iter().map(|&b| at(b, c) * (values[b] - 0.01) / noise[b]).sum();
            let compressed: f64 = (0..rank).map(|k| compression.weight(k, c) * z[k]).sum();
            assert!((direct - compressed).abs() < 1e-9 * (1.0 + direct.abs()), "{direct} {compressed}");
            for d in 0..q {
                let direct: f64 = present.iter().map(|&b| at(b, c) * at(b, d) / noise[b]).sum();
                let compressed: f64 = (0..rank).map(|k| compression.weight(k, c) * compression.weight(k, d)).sum();
                assert!((direct - compressed).abs() < 1e-9 * (1.0 + direct.abs()));
            }
        }
        let total: f64 = present.iter().map(|&b| (values[b] - 0.01_f64).powi(2) / noise[b]).sum();
        assert!((total - z.norm_squared() - left_out).abs() < 1e-9 * (1.0 + total));
        let log_det: f64 = present.iter().map(|&b| noise[b].ln()).sum();
        assert!((log_det - compression.log_det_noise()).abs() < 1e-12);
    }

    #[test]
    fn information_is_kept() {
        let nan = f64::NAN;
        // selection, with a gap, a repeated target band and an unseen one
        check(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], &[1e-4, 2e-4, 3e-4], &[0.1, 0.2, 0.3], 2);
        check(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], &[1e-4, 2e-4, 3e-4], &[0.1, nan, 0.3], 1);
        // five bands of two components, full rank and rank one
        let dense = [0.9, 0.2, 0.5, -0.4, 0.1, 0.8, 0.3, 0.3, -0.2, 0.6];
        check(&dense, &[1e-4, 2e-4, 1e-5, 1e-4, 3e-3], &[0.1, 0.3, nan, 0.2, 0.5], 2);
        let rank_one = [0.9, 1.8, 0.5, 1.0, 0.1, 0.2];
        check(&rank_one, &[1e-4, 2e-4, 1e-5], &[0.1, 0.3, 0.2], 1);
        check(&dense, &[1e-4; 5], &[nan; 5], 0);
    }
}
