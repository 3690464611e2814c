//! Compression of a pixel's bands to at most as many pseudo-observations as it has channels, and a cache of
//! compressions.

use std::collections::HashMap;
use std::sync::Arc;

use nalgebra::DMatrix;

use super::workspace::MOST_BLOCK_ROWS;

/// Number of band patterns that a cache holds; at more it is emptied. Clouds hide all bands of a pixel, so few
/// patterns recur.
const CACHED_PATTERNS: usize = 256;

/// Largest condition number of `V^{-1/2} M` at which channels are solved for. Beyond it their noise covariance loses
/// its digits.
const LARGEST_CONDITION: f64 = 1e3;

/// Largest number of channels that are observed directly: their pseudo-observations share noise and must fit into one
/// block.
const MOST_CHANNELS: usize = MOST_BLOCK_ROWS / 2;

/// The measurement model of the bands of an instrument's pixel: `y = M u + c + ε`, `ε ~ N(0, diag v)`.
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
    /// `design` is M row by row (**shape** (bands, channels)), `noise_variance` v (u²) and `offset` c (u) have one
    /// entry per band.
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

    /// The same bands with another noise variance, in u².
    ///
    /// # Panics
    /// When the number of variances differs from the number of bands.
    #[must_use]
    pub fn with_noise(&self, noise_variance: &[f64]) -> Self {
        assert_eq!(noise_variance.len(), self.bands(), "one variance per band");
        Self { noise_variance: noise_variance.to_vec(), ..self.clone() }
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

    /// Noise variance of each band, in u².
    #[must_use]
    pub fn noise_variances(&self) -> &[f64] {
        &self.noise_variance
    }

    /// Whether there is one channel and every band measures it directly.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.channels <= 1 && self.design.iter().all(|weight| *weight == 1.0)
    }

    /// The value of each band where all channels are zero, in u.
    #[must_use]
    pub fn offsets(&self) -> &[f64] {
        &self.offset
    }
}

/// Lossless compression of the bands of one pixel to at most as many pseudo-observations as it has channels.
///
/// With `W = V^{-1/2} M` of the bands present and its singular value decomposition `W = U Σ Xᵀ`, all the information
/// that `y` has on `u` is in (`docs/model.md`, "The filter")
///
/// - `z = X Σ⁻¹ Uᵀ V^{-1/2} (y - c)`, an observation of `u` itself with noise covariance `A⁻¹ = X Σ⁻² Xᵀ`, when every
///   channel is observed: each pseudo-observation depends on one channel only, so the update gathers the fewest states;
/// - `z = Uᵀ V^{-1/2} (y - c)`, an observation of `Uᵀ W u` with unit noise, when the rank is lower than the number of
///   channels or `W` is ill-conditioned.
///
/// The part of `y` that `z` omits enters only the likelihood.
#[derive(Clone, Debug)]
pub struct Compression {
    /// Indices of the bands present.
    present: Vec<usize>,
    /// `v^{-1/2}` of the bands present.
    whitening: Vec<f64>,
    channels: usize,
    /// From residuals `y - c` to z. **Shape** (rank, bands present), row-major.
    transform: Vec<f64>,
    /// From z to the whitened residuals that it represents. **Shape** (rank, bands present), row-major.
    expansion: Vec<f64>,
    form: Form,
    /// `log det V` of the bands present, plus `log det A` where channels are observed directly.
    log_det: f64,
    /// Largest eigenvalue of `A = Wᵀ W`: the reciprocal of the smallest noise variance of any combination of channels.
    information: f64,
}

/// The quantities that the pseudo-observations measure.
#[derive(Clone, Debug)]
enum Form {
    /// The channels themselves. Noise covariance, **shape** (channels, channels), row-major.
    Channels(Vec<f64>),
    /// Combinations of the channels, with unit noise. **Shape** (rank, channels), row-major.
    Combinations(Vec<f64>),
}

impl Compression {
    /// The compression for the given present bands.
    #[must_use]
    pub fn new(model: &BandModel, present: Vec<usize>) -> Self {
        let channels = model.channels;
        let whitening: Vec<f64> = present.iter().map(|&band| model.noise_variance[band].sqrt().recip()).collect();
        let whitened = DMatrix::from_fn(present.len(), channels, |row, channel| {
            whitening[row] * model.design[present[row] * channels + channel]
        });
        let Svd { basis, values, axes } = decompose(&whitened);
        let log_det_noise: f64 = present.iter().map(|&band| model.noise_variance[band].ln()).sum();
        let information = values.first().map_or(0.0, |largest| largest * largest);
        let rank = values.len();
        let direct = rank == channels && rank <= MOST_CHANNELS && values[0] <= LARGEST_CONDITION * values[rank - 1];
        let (z_of_whitened, whitened_of_z, form, log_det) = if rank > 0 && direct {
            let inverse = DMatrix::from_fn(channels, rank, |j, k| axes[(j, k)] / values[k]);
            let noise = &inverse * inverse.transpose();
            let log_det_information: f64 = values.iter().map(|value| 2.0 * value.ln()).sum();
            let form = Form::Channels(noise.transpose().as_slice().to_vec());
            (inverse * basis.transpose(), whitened.transpose(), form, log_det_noise + log_det_information)
        } else {
            let operator = basis.tr_mul(&whitened);
            let form = Form::Combinations(operator.transpose().as_slice().to_vec());
            (basis.transpose(), basis.transpose(), form, log_det_noise)
        };
        let row_major = |matrix: &DMatrix<f64>, scale: &dyn Fn(usize) -> f64| {
            (0..rank).flat_map(|k| (0..present.len()).map(move |b| matrix[(k, b)] * scale(b))).collect()
        };
        let transform = row_major(&z_of_whitened, &|b| whitening[b]);
        let expansion = row_major(&whitened_of_z, &|_| 1.0);
        Self { present, whitening, channels, transform, expansion, form, log_det, information }
    }

    /// Number of pseudo-observations.
    #[must_use]
    pub fn rank(&self) -> usize {
        match &self.form {
            Form::Channels(_) => self.channels,
            Form::Combinations(operator) => operator.len() / self.channels.max(1),
        }
    }

    /// Number of bands present.
    #[must_use]
    pub fn bands(&self) -> usize {
        self.present.len()
    }

    /// The weight of each channel in pseudo-observation `k`; `None` where it is channel `k` itself.
    pub(super) fn weights(&self, k: usize) -> Option<&[f64]> {
        match &self.form {
            Form::Channels(_) => None,
            Form::Combinations(operator) => Some(&operator[k * self.channels..(k + 1) * self.channels]),
        }
    }

    /// Noise covariance of pseudo-observation `k` with the preceding ones and, last, with itself; only the last entry
    /// where the noise is independent.
    pub(super) fn noise(&self, k: usize) -> &[f64] {
        match &self.form {
            Form::Channels(noise) => &noise[k * self.channels..=k * (self.channels + 1)],
            Form::Combinations(_) => &[1.0],
        }
    }

    /// Terms of the likelihood's determinant that the pseudo-observations omit.
    pub(super) fn log_det(&self) -> f64 {
        self.log_det
    }

    /// Reciprocal of the smallest noise variance.
    pub(super) fn information(&self) -> f64 {
        self.information
    }

    /// Appends the pseudo-observations of `values` (all bands) to `z`. Returns the squared norm of the part that they
    /// omit. `residuals` is scratch.
    pub(super) fn project(&self, model: &BandModel, values: &[f64], residuals: &mut Vec<f64>, z: &mut Vec<f64>) -> f64 {
        let bands = self.present.len();
        residuals.clear();
        residuals.extend(self.present.iter().map(|&band| values[band] - model.offset[band]));
        let first = z.len();
        let product = |row: &[f64]| row.iter().zip(residuals.iter()).map(|(t, r)| t * r).sum::<f64>();
        z.extend(self.transform.chunks_exact(bands).map(product));
        residuals.iter_mut().zip(&self.whitening).for_each(|(residual, w)| *residual *= w);
        for (row, z) in self.expansion.chunks_exact(bands).zip(&z[first..]) {
            residuals.iter_mut().zip(row).for_each(|(residual, e)| *residual -= e * z);
        }
        residuals.iter().map(|residual| residual * residual).sum()
    }
}

/// Nonzero singular values, in descending order, and their vectors.
struct Svd {
    /// U. **Shape** (rows, rank).
    basis: DMatrix<f64>,
    values: Vec<f64>,
    /// X. **Shape** (columns, rank).
    axes: DMatrix<f64>,
}

/// The decomposition `U Σ Xᵀ`.
///
/// Where every row has at most one nonzero column (the usual case without a spectral basis), the columns are
/// orthogonal and the decomposition is exact. Pseudo-observations then stay as sparse as the bands.
fn decompose(matrix: &DMatrix<f64>) -> Svd {
    let (rows, cols) = matrix.shape();
    let disjoint = matrix.row_iter().all(|row| row.iter().filter(|v| **v != 0.0).count() <= 1);
    let (basis, values, axes) = if disjoint {
        let norms: Vec<f64> = matrix.column_iter().map(|column| column.norm()).collect();
        let scaled = |i: usize, j: usize| if norms[j] > 0.0 { matrix[(i, j)] / norms[j] } else { 0.0 };
        (DMatrix::from_fn(rows, cols, scaled), norms, DMatrix::identity(cols, cols))
    } else {
        let svd = matrix.clone().svd(true, true);
        let (Some(u), Some(x)) = (svd.u, svd.v_t) else {
            return Svd { basis: DMatrix::zeros(rows, 0), values: Vec::new(), axes: DMatrix::zeros(cols, 0) };
        };
        (u, svd.singular_values.as_slice().to_vec(), x.transpose())
    };
    let largest = values.iter().copied().fold(0.0, f64::max);
    let tolerance = largest * f64::EPSILON * rows.max(cols) as f64;
    let mut significant: Vec<usize> = (0..values.len()).filter(|&k| values[k] > tolerance).collect();
    significant.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    Svd {
        basis: basis.select_columns(&significant),
        values: significant.iter().map(|&k| values[k]).collect(),
        axes: axes.select_columns(&significant),
    }
}

/// Compressions by instrument and pattern of missing bands. One cache serves one set of band models.
#[derive(Debug, Default)]
pub struct CompressionCache {
    /// By the instrument, followed by the bands present.
    entries: HashMap<Vec<usize>, Arc<Compression>>,
    key: Vec<usize>,
    /// The most recent key and compression: neighbouring pixels mostly miss the same bands.
    last: Option<(Vec<usize>, Arc<Compression>)>,
}

impl CompressionCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The compression of `instrument`'s bands that hold a value, computed unless it is cached; `None` when none
    /// holds one.
    pub(super) fn get(&mut self, instrument: usize, model: &BandModel, values: &[f64]) -> Option<&Compression> {
        self.key.clear();
        self.key.push(instrument);
        self.key.extend((0..values.len()).filter(|&band| values[band].is_finite()));
        if self.key.len() == 1 {
            return None;
        }
        if self.last.as_ref().is_none_or(|(key, _)| *key != self.key) {
            let found = self.find_or_make(model);
            let (mut key, _) = self.last.take().unwrap_or_else(|| (Vec::new(), Arc::clone(&found)));
            key.clone_from(&self.key);
            self.last = Some((key, found));
        }
        self.last.as_ref().map(|(_, compression)| compression.as_ref())
    }

    fn find_or_make(&mut self, model: &BandModel) -> Arc<Compression> {
        if let Some(found) = self.entries.get(&self.key) {
            return Arc::clone(found);
        }
        if self.entries.len() >= CACHED_PATTERNS {
            self.entries.clear();
        }
        let made = Arc::new(Compression::new(model, self.key[1..].to_vec()));
        self.entries.insert(self.key.clone(), Arc::clone(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Information and likelihood terms of the compressed pixel against those of its bands.
    fn check(design: &[f64], noise_variance: &[f64], values: &[f64], rank: usize) {
        let bands = noise_variance.len();
        let model = BandModel::new(design.to_vec(), noise_variance.to_vec(), vec![0.01; bands]);
        let present: Vec<usize> = (0..bands).filter(|&b| values[b].is_finite()).collect();
        let compression = Compression::new(&model, present.clone());
        assert_eq!(compression.rank(), rank);
        let (mut residuals, mut z) = (Vec::new(), Vec::new());
        let left_out = compression.project(&model, values, &mut residuals, &mut z);
        let q = model.channels();
        let at = |b: usize, c: usize| design[b * q + c];
        // What the pseudo-observations see, and the inverse of their noise.
        let operator = DMatrix::from_fn(rank, q, |k, c| match compression.weights(k) {
            Some(weights) => weights[c],
            None => f64::from(u8::from(k == c)),
        });
        let noise = DMatrix::from_fn(rank, rank, |k, l| {
            let (row, col) = (k.max(l), k.min(l));
            let entries = compression.noise(row);
            if entries.len() == 1 { f64::from(u8::from(k == l)) * entries[0] } else { entries[col] }
        });
        let precision = noise.clone().try_inverse().unwrap();
        let (information, z) = (operator.tr_mul(&precision), nalgebra::DVector::from_vec(z));
        let (found, sum) = (&information * &z, &information * &operator);
        for c in 0..q {
            let direct: f64 = present.iter().map(|&b| at(b, c) * (values[b] - 0.01) / noise_variance[b]).sum();
            assert!((direct - found[c]).abs() < 1e-9 * (1.0 + direct.abs()), "{direct} {}", found[c]);
            for d in 0..q {
                let direct: f64 = present.iter().map(|&b| at(b, c) * at(b, d) / noise_variance[b]).sum();
                assert!((direct - sum[(c, d)]).abs() < 1e-9 * (1.0 + direct.abs()));
                assert!(sum[(c, c)] <= compression.information() * (1.0 + 1e-9));
            }
        }
        let total: f64 = present.iter().map(|&b| (values[b] - 0.01_f64).powi(2) / noise_variance[b]).sum();
        assert!((total - z.dot(&(&precision * &z)) - left_out).abs() < 1e-9 * (1.0 + total));
        let log_det: f64 = present.iter().map(|&b| noise_variance[b].ln()).sum();
        assert!((log_det - compression.log_det() - noise.determinant().ln()).abs() < 1e-9);
    }

    #[test]
    fn information_is_kept() {
        let nan = f64::NAN;
        // selection, with a gap, a repeated target band and an unseen one
        check(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], &[1e-4, 2e-4, 3e-4], &[0.1, 0.2, 0.3], 2);
        check(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], &[1e-4, 2e-4, 3e-4], &[0.1, nan, 0.3], 1);
        // all channels observed, one of them twice
        check(&[0.0, 1.0, 1.0, 0.0, 0.0, 1.0], &[1e-4, 2e-4, 3e-4], &[0.1, 0.2, 0.3], 2);
        // five bands of two components, full rank, rank one, nearly rank one
        let dense = [0.9, 0.2, 0.5, -0.4, 0.1, 0.8, 0.3, 0.3, -0.2, 0.6];
        check(&dense, &[1e-4, 2e-4, 1e-5, 1e-4, 3e-3], &[0.1, 0.3, nan, 0.2, 0.5], 2);
        let rank_one = [0.9, 1.8, 0.5, 1.0, 0.1, 0.2];
        check(&rank_one, &[1e-4, 2e-4, 1e-5], &[0.1, 0.3, 0.2], 1);
        check(&[0.9, 1.8, 0.5, 1.0, 0.1, 0.2 + 1e-6], &[1e-4, 2e-4, 1e-5], &[0.1, 0.3, 0.2], 2);
    }

    #[test]
    fn only_well_conditioned_channels_are_observed_directly() {
        let direct = |design: &[f64]| {
            let bands = design.len() / 2;
            let model = BandModel::new(design.to_vec(), vec![1e-4; bands], vec![0.0; bands]);
            Compression::new(&model, (0..bands).collect()).weights(0).is_none()
        };
        assert!(direct(&[0.9, 0.2, 0.5, -0.4, 0.1, 0.8]));
        assert!(!direct(&[0.9, 1.8, 0.5, 1.0, 0.1, 0.2]), "rank one");
        assert!(!direct(&[1.0, 1.0, 1.0, 1.0 + 1e-5]), "condition above 1e3");
        assert!(!direct(&[1.0, 0.0, 1.0, 0.0]), "a channel that no band observes");
    }
}
