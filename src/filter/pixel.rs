use super::{NumericalError, Observations, Real, State, Workspace};

impl<T: Real> State<T> {
    /// A pixel's own normalised innovation squared and its degrees of freedom, the number of its values: how far the pixel
    /// lies from the state as it is, all other pixels aside. `pixel` counts over all groups.
    ///
    /// `νᵀ (H P Hᵀ + R)⁻¹ ν` of the pseudo-observations plus what they leave out of the values.
    ///
    /// # Errors
    /// [`NumericalError::NotPositiveDefinite`] when the pixel's innovation covariance is not.
    pub fn pixel_nis(
        &self,
        observations: &Observations,
        pixel: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<(f64, usize), NumericalError> {
        let pixel = observations.pixel(pixel);
        let mut nis = pixel.left_out;
        let block = &mut workspace.block;
        // Not in the block's own buffers: a pixel of many components may have more rows than a block.
        let size = pixel.rows.len();
        block.pixel.clear();
        block.pixel.resize(size * size, 0.0);
        block.innovation.clear();
        for (k, row) in pixel.rows.clone().enumerate() {
            let entries = observations.row(row);
            block.innovation.push(observations.innovation(row, &self.mean));
            let noise = observations.noise(row);
            for (l, other) in pixel.rows.clone().enumerate().take(k + 1) {
                let pair = |(i, a): (usize, f64)| -> f64 {
                    observations.row(other).map(|(j, b)| a * b * self.cov.get(i, j)).sum()
                };
                let noise = (l + noise.len()).checked_sub(k + 1).map_or(0.0, |at| noise[at]);
                block.pixel[l * size + k] = entries.clone().map(pair).sum::<f64>() + noise;
            }
        }
        // Cholesky and forward substitution in one pass: small and rare enough for the plain form.
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
            let whitened = block.innovation[l] / pivot;
            nis += whitened * whitened;
            let below = &mut block.innovation[l + 1..];
            below.iter_mut().zip(&column[1..]).for_each(|(value, c)| *value -= whitened * c);
        }
        Ok((nis, pixel.values))
    }
}
