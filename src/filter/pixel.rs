//! Predictions and test statistics of single pixels.

use super::{NumericalError, Observations, Real, State, Workspace};

impl<T: Real> State<T> {
    /// Mean and variance, in u and u², of the prediction of a [probe](Observations::push_probe) beyond its value at
    /// zero channels, without its noise: `H m` and `H P Hᵀ`. `pixel` counts over all groups.
    #[must_use]
    pub fn predicted_observation(&self, observations: &Observations, pixel: usize) -> (f64, f64) {
        let row = observations.pixel(pixel).rows.start;
        let mean: f64 = observations.row(row).map(|(i, a)| a * self.mean[i]).sum();
        // z is the image of a residual of one unit.
        let scale = observations.z(row).recip();
        (mean * scale, self.row_variance(observations, row) * scale * scale)
    }

    /// `H P Hᵀ` of a row.
    pub(super) fn row_variance(&self, observations: &Observations, row: usize) -> f64 {
        let entries = || observations.row(row);
        let pairs = entries().flat_map(|(i, a)| entries().map(move |(j, b)| (i, j, a * b)));
        pairs.map(|(i, j, w)| w * self.cov.get(i, j)).sum()
    }

    /// The normalised innovation squared of a single pixel, and its degrees of freedom (the number of its values):
    /// the distance of the pixel from the current state, whatever other pixels hold. `pixel` counts over all groups.
    ///
    /// `νᵀ (H P Hᵀ + R)⁻¹ ν` of the pseudo-observations, summed over the columns, plus the part of the values that they
    /// omit.
    ///
    /// # Panics
    /// When the observations do not have as many columns as the state.
    ///
    /// # Errors
    /// [`NumericalError::NotPositiveDefinite`] when the innovation covariance of the pixel is not positive definite.
    pub fn pixel_nis(
        &self,
        observations: &Observations,
        pixel: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<(f64, usize), NumericalError> {
        assert_eq!(observations.columns(), self.columns(), "the columns of the state");
        let pixel = observations.pixel(pixel);
        let mut nis = pixel.left_out;
        let block = &mut workspace.block;
        // The buffers of a block are not used: a pixel with many components may have more rows than a block.
        let size = pixel.rows.len();
        block.pixel.clear();
        block.pixel.resize(size * size, 0.0);
        block.innovation.clear();
        for column in 0..self.columns() {
            let innovation = |row| observations.innovation(row, column, self.column(column));
            block.innovation.extend(pixel.rows.clone().map(innovation));
        }
        for (k, row) in pixel.rows.clone().enumerate() {
            let entries = observations.row(row);
            let noise = observations.noise(row);
            for (l, other) in pixel.rows.clone().enumerate().take(k + 1) {
                let pair = |(i, a): (usize, f64)| -> f64 {
                    observations.row(other).map(|(j, b)| a * b * self.cov.get(i, j)).sum()
                };
                let noise = (l + noise.len()).checked_sub(k + 1).map_or(0.0, |at| noise[at]);
                block.pixel[l * size + k] = entries.clone().map(pair).sum::<f64>() + noise;
            }
        }
        // Cholesky factorisation and forward substitution in one pass. The matrix is small and the call rare, so a
        // plain loop suffices.
        for l in 0..size {
            let (done, rest) = block.pixel.split_at_mut(l * size);
            let column = &mut rest[l..size];
            for before in done.chunks_exact(size) {
                let factor = before[l];
                column.iter_mut().zip(&before[l..]).for_each(|(value, b)| *value -= factor * b);
            }
            if column[0].is_nan() || column[0] <= 0.0 {
                return Err(NumericalError::NotPositiveDefinite { pivot: l, size });
            }
            let pivot = column[0].sqrt();
            column.iter_mut().for_each(|value| *value /= pivot);
            for innovation in block.innovation.chunks_exact_mut(size) {
                let whitened = innovation[l] / pivot;
                nis += whitened * whitened;
                let below = &mut innovation[l + 1..];
                below.iter_mut().zip(&column[1..]).for_each(|(value, c)| *value -= whitened * c);
            }
        }
        Ok((nis, pixel.values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{BandModel, Channel, CompressionCache};

    /// Bands of one channel and of several, of either sign, against the dense product.
    #[test]
    fn probes_tell_what_a_band_shows() {
        let mut state: State = State::new(4);
        for i in 0..4 {
            state.mean[i] = 0.3 - 0.2 * i as f64;
            (0..=i).for_each(|j| state.cov.set(i, j, if i == j { 0.5 } else { 0.04 * (i + j) as f64 }));
        }
        let channels = [[(0_u32, 0.25), (1, 0.75)], [(0, 0.5), (1, 0.5)]];
        for design in [vec![-0.8, 0.0, 0.0, 1.0], vec![0.9, -0.4, 0.2, 0.7]] {
            let model = BandModel::new(design.clone(), vec![1e-3, 2e-3], vec![0.1, 0.0]);
            let weights = channels.map(|entries| entries.map(|(_, weight)| weight));
            let states = channels.map(|entries| entries.map(|(state, _)| state));
            let channel = |j: usize| Channel { offset: 2 * j, scale: 1.0, states: &states[j], weights: &weights[j] };
            let (mut observations, mut cache) = (Observations::new(), CompressionCache::new());
            observations.begin_group(0);
            (0..2).for_each(|band| observations.push_probe(&model, band, channel, &mut cache));
            for band in 0..2 {
                let row: Vec<(usize, f64)> = (0..2)
                    .flat_map(|j| channels[j].map(|(s, w)| (2 * j + s as usize, w * design[2 * band + j])))
                    .collect();
                let mean: f64 = row.iter().map(|(i, w)| w * state.mean[*i]).sum();
                let cov = |(i, a): &(usize, f64)| row.iter().map(|(j, b)| a * b * state.cov.get(*i, *j)).sum::<f64>();
                let variance: f64 = row.iter().map(cov).sum();
                let found = state.predicted_observation(&observations, band);
                assert!(
                    (found.0 - mean).abs() < 1e-12 && (found.1 - variance).abs() < 1e-12,
                    "{found:?} {mean} {variance}"
                );
            }
        }
    }

    /// Scaling the noise of a pixel equals pushing it with that noise, the likelihood included; for a pixel with
    /// several bands and for one with too few.
    #[test]
    fn scaled_noise_equals_pushed_noise() {
        let designs = [vec![1.0, 1.0, 1.0], vec![0.9, 0.4, 0.2, 0.7, -0.3, 0.5], vec![0.9, 1.8, 0.5, 1.0, 0.1, 0.2]];
        for design in designs {
            let noise = [1e-3, 2e-3, 5e-3];
            let model = BandModel::new(design.clone(), noise.to_vec(), vec![0.1, 0.0, 0.2]);
            let channel = |j: usize| Channel { offset: 2 * j, scale: 1.0, states: &[0, 1], weights: &[0.3, 0.7] };
            let start = || {
                let mut state: State = State::new(4);
                (0..4).for_each(|i| state.cov.set(i, i, 0.02 + 0.01 * i as f64));
                state.cov.set(1, 0, 0.01);
                state
            };
            let values = [0.35, 0.1, 0.4];
            let (mut scaled, mut noisy, mut cache) =
                (Observations::new(), Observations::new(), CompressionCache::new());
            for observations in [&mut scaled, &mut noisy] {
                observations.begin_group(0);
            }
            scaled.push_pixel(&model, channel, &values, &mut cache);
            scaled.push_pixel(&model, channel, &[0.2, f64::NAN, 0.3], &mut cache);
            scaled.scale_noise(0, 7.0);
            noisy.push_noisy_pixel(&model, channel, &values, &noise.map(|noise| 7.0 * noise));
            noisy.push_pixel(&model, channel, &[0.2, f64::NAN, 0.3], &mut cache);
            let (mut a, mut b) = (start(), start());
            let (mut first, mut second) = (Workspace::new(), Workspace::new());
            let fits = (a.update(&scaled, &mut first).unwrap()[0], b.update(&noisy, &mut second).unwrap()[0]);
            assert!((fits.0.nis - fits.1.nis).abs() < 1e-9 * fits.1.nis, "{fits:?}");
            assert!((fits.0.log_likelihood - fits.1.log_likelihood).abs() < 1e-9, "{fits:?}");
            for i in 0..4 {
                assert!((a.mean[i] - b.mean[i]).abs() < 1e-12 && (a.cov.get(i, i) - b.cov.get(i, i)).abs() < 1e-12);
            }
            assert!((scaled.information() - noisy.information()).abs() < 1e-9 * noisy.information());
        }
    }
}
