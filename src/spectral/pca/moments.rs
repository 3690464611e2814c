//! Streaming mean and covariance of spectra.

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par};

/// Number of pixels whose products are summed at once: enough for the dense product to run at full speed.
const BLOCK: usize = 512;

/// Count, mean and covariance of a stream of spectra, in one pass and float64.
///
/// Spectra are gathered in blocks. Each block is centred on its own mean before products are formed, and merged with
/// the earlier blocks by the formula of Chan, Golub and `LeVeque` (The American Statistician 37, 1983), so that large
/// numbers do not cancel. Memory is one block and one covariance.
pub(super) struct Moments {
    count: u64,
    mean: Vec<f64>,
    /// `Σ (y - mean)(y - mean)ᵀ`, lower triangle.
    scatter: Mat<f64>,
    /// **Shape** (band, pixel).
    block: Mat<f64>,
    filled: usize,
    difference: Vec<f64>,
}

impl Moments {
    pub(super) fn new(bands: usize) -> Self {
        Self {
            count: 0,
            mean: vec![0.0; bands],
            scatter: Mat::zeros(bands, bands),
            block: Mat::zeros(bands, BLOCK),
            filled: 0,
            difference: vec![0.0; bands],
        }
    }

    /// Memory for the next spectrum, which counts once [`accept`](Self::accept) is called.
    pub(super) fn next(&mut self) -> &mut [f64] {
        self.block.col_as_slice_mut(self.filled)
    }

    pub(super) fn accept(&mut self) {
        self.filled += 1;
        if self.filled == BLOCK {
            self.join();
        }
    }

    /// Merges the block with the earlier ones.
    fn join(&mut self) {
        let (added, before) = (self.filled as f64, self.count as f64);
        if self.filled == 0 {
            return;
        }
        let share = added / (before + added);
        for (band, (mean, difference)) in self.mean.iter_mut().zip(&mut self.difference).enumerate() {
            let sum: f64 = (0..self.filled).map(|pixel| self.block[(band, pixel)]).sum();
            let of_block = sum / added;
            for pixel in 0..self.filled {
                self.block[(band, pixel)] -= of_block;
            }
            *difference = of_block - *mean;
            *mean += share * *difference;
        }
        let centred = self.block.as_ref().subcols(0, self.filled);
        triangular::matmul(
            self.scatter.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Add,
            centred,
            BlockStructure::Rectangular,
            centred.transpose(),
            BlockStructure::Rectangular,
            1.0,
            Par::Seq,
        );
        for (col, &b) in self.difference.iter().enumerate() {
            let scatter = &mut self.scatter.col_as_slice_mut(col)[col..];
            for (entry, a) in scatter.iter_mut().zip(&self.difference[col..]) {
                *entry += before * share * a * b;
            }
        }
        self.count += self.filled as u64;
        self.filled = 0;
    }

    /// Number of spectra, their mean and their covariance (both triangles). At least two spectra are needed.
    pub(super) fn finish(mut self) -> (u64, Vec<f64>, Mat<f64>) {
        self.join();
        let degrees = self.count.saturating_sub(1) as f64;
        let n = self.mean.len();
        let cov = Mat::from_fn(n, n, |row, col| self.scatter[(row.max(col), row.min(col))] / degrees);
        (self.count, self.mean, cov)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// The obvious way: all spectra at once, mean first.
    fn two_pass(spectra: &[Vec<f64>]) -> (Vec<f64>, Mat<f64>) {
        let (n, bands) = (spectra.len() as f64, spectra[0].len());
        let mean: Vec<f64> = (0..bands).map(|b| spectra.iter().map(|s| s[b]).sum::<f64>() / n).collect();
        let product = |a: usize, b: usize| spectra.iter().map(|s| (s[a] - mean[a]) * (s[b] - mean[b])).sum::<f64>();
        (mean.clone(), Mat::from_fn(bands, bands, |a, b| product(a, b) / (n - 1.0)))
    }

    /// Spectra far from zero whose mean drifts, which sums of squares would not survive.
    #[test]
    fn one_pass_equals_two() {
        let mut rng = StdRng::seed_from_u64(7);
        for (pixels, bands) in [(2, 3), (511, 5), (512, 5), (3000, 17)] {
            let mut spectrum = |pixel: usize| -> Vec<f64> {
                let common: f64 = rng.random();
                let own = |band: usize| (band + 1) as f64 * common + 1e-3 * pixel as f64;
                (0..bands).map(|band| 1e3 + own(band) + rng.random::<f64>()).collect()
            };
            let spectra: Vec<Vec<f64>> = (0..pixels).map(&mut spectrum).collect();
            let mut moments = Moments::new(bands);
            for spectrum in &spectra {
                moments.next().copy_from_slice(spectrum);
                moments.accept();
                moments.next().fill(f64::NAN); // what is not accepted leaves no trace
            }
            let (count, mean, cov) = moments.finish();
            let (expected_mean, expected) = two_pass(&spectra);
            assert_eq!(count, pixels as u64);
            for a in 0..bands {
                assert!((mean[a] - expected_mean[a]).abs() <= 1e-12 * expected_mean[a].abs());
                for b in 0..bands {
                    let scale = (expected[(a, a)] * expected[(b, b)]).sqrt();
                    let (got, expected) = (cov[(a, b)], expected[(a, b)]);
                    assert!((got - expected).abs() <= 1e-12 * scale, "{pixels} {a} {b}: {got} {expected}");
                    assert_eq!(got, cov[(b, a)]);
                }
            }
        }
    }
}
