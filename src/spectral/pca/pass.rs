//! One pass over a source: sums of spectra and of noise variances.

use ndarray::Axis;

use super::moments::Moments;
use crate::error::{Error, Result};
use crate::geometry::PixelRegion;
use crate::source::{Pass, PassWatch, RasterSource, Slice};

/// Memory for the values of a tile.
const TILE_BYTES: usize = 32 << 20;

/// A pass over a source, with its sums.
pub(super) struct SpectraPass<'a, S: RasterSource + ?Sized> {
    pub(super) source: &'a S,
    /// Bands used, by increasing wavelength.
    pub(super) bands: Vec<usize>,
    pub(super) wavelengths_nm: Vec<f64>,
    /// Noise variance of each band where the slices give none, if it is to be summed.
    noise: Option<Vec<f64>>,
    every: usize,
    pub(super) moments: Moments,
    /// Sums over the used pixels.
    pub(super) noise_sum: Vec<f64>,
    /// Number of pixels with any value.
    pub(super) with_values: u64,
    pub(super) counted: u64,
    /// Number of values per band.
    present: Vec<u64>,
}

impl<'a, S: RasterSource + ?Sized> SpectraPass<'a, S> {
    pub(super) fn new(
        source: &'a S,
        bands: Vec<usize>,
        wavelengths_nm: Vec<f64>,
        noise: Option<Vec<f64>>,
        every: usize,
    ) -> Self {
        let n = bands.len();
        let (moments, noise_sum, present) = (Moments::new(n), vec![0.0; n], vec![0; n]);
        Self { source, bands, wavelengths_nm, noise, every, moments, noise_sum, with_values: 0, counted: 0, present }
    }

    /// Reads every date once.
    pub(super) fn run(mut self, watch: &dyn PassWatch) -> Result<Self> {
        let pixels = self.source.grid().region().len() * self.source.dates().len();
        let pass = Pass::new(watch, "spectra of the scene", pixels as u64);
        let shape = tile_shape(self.source.grid().shape(), self.source.block_shape(), self.bands.len());
        for (time, &date) in self.source.dates().iter().enumerate() {
            for region in tiles(self.source.grid().shape(), shape) {
                pass.read(region.len())?;
                let slice = self.source.read(date, &self.bands, &region)?;
                self.add(time, &slice);
            }
        }
        self.check()?;
        Ok(self)
    }

    fn add(&mut self, time: usize, slice: &Slice) {
        let (_, rows, cols) = slice.values.dim();
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let position = slice.region.rows.start + row + slice.region.cols.start + col + time;
            if !position.is_multiple_of(self.every) {
                continue;
            }
            let spectrum = self.moments.next();
            let mut found = 0;
            for ((value, plane), present) in
                spectrum.iter_mut().zip(slice.values.axis_iter(Axis(0))).zip(&mut self.present)
            {
                *value = plane[(row, col)];
                let held = value.is_finite();
                found += usize::from(held);
                *present += u64::from(held);
            }
            self.with_values += u64::from(found > 0);
            if found < self.bands.len() {
                continue;
            }
            self.moments.accept();
            self.counted += 1;
            let Some(noise) = &self.noise else { continue };
            for (band, (sum, given)) in self.noise_sum.iter_mut().zip(noise).enumerate() {
                let given_noise = slice.noise_variance.as_ref().map(|given_noise| given_noise[(band, row, col)]);
                *sum += given_noise.filter(|given_noise| given_noise.is_finite()).unwrap_or(*given);
            }
        }
    }

    /// Refuses sums that give no covariance.
    fn check(&self) -> Result<()> {
        if self.counted >= 2 {
            return Ok(());
        }
        let (origin, counted, with_values) = (self.source.origin(), self.counted, self.with_values);
        let problem = match self.missing_bands() {
            _ if with_values == 0 => "no pixel holds any value; check `files`, nodata and valid_range".into(),
            Some(missing) => missing,
            None => format!(
                "of {with_values} pixels with values only {counted} have all {} bands; leave out those that are often missing (`bands`, \
                 without_nm), or check nodata and valid_range",
                self.bands.len()
            ),
        };
        Err(Error::setting("bands", format!("{origin}: {problem}")))
    }

    /// Bands without any value, in runs, and how to leave them out.
    fn missing_bands(&self) -> Option<String> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for band in (0..self.present.len()).filter(|&band| self.present[band] == 0) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == band => *last = band,
                _ => runs.push((band, band)),
            }
        }
        if runs.is_empty() {
            return None;
        }
        let join = |text: &dyn Fn(&(usize, usize)) -> String| runs.iter().map(text).collect::<Vec<_>>().join(", ");
        let names = join(&|&(first, last)| {
            let [first_nm, last_nm] = [self.wavelengths_nm[first], self.wavelengths_nm[last]];
            match (self.bands[first] + 1, self.bands[last] + 1) {
                (first, last) if first == last => format!("{first} ({first_nm} nm)"),
                (first, last) => format!("{first} to {last} ({first_nm} to {last_nm} nm)"),
            }
        });
        let ranges = join(&|&(first, last)| format!("{}-{}", self.wavelengths_nm[first], self.wavelengths_nm[last]));
        Some(format!(
            "bands {names} are missing in all {} pixels, so that no pixel has all `bands`; leave these out: without_nm {ranges}",
            self.with_values
        ))
    }
}

/// Rows and columns read at once: full blocks of the storage, as many as memory allows, or a part of one.
fn tile_shape((rows, cols): (usize, usize), block: Option<(usize, usize)>, bands: usize) -> (usize, usize) {
    let most = (TILE_BYTES / size_of::<f64>() / bands.max(1)).max(1);
    let (block_rows, block_cols) = block.unwrap_or((1, cols));
    let (block_rows, block_cols) = (block_rows.clamp(1, rows.max(1)), block_cols.clamp(1, cols.max(1)));
    // First as wide as possible, so that blocks of full rows are not cut; then as tall.
    let wide = (most / block_rows / block_cols * block_cols).clamp(block_cols.min(most), cols.max(1));
    let tall = (most / wide).max(1);
    let tall = if tall >= block_rows { tall / block_rows * block_rows } else { tall };
    (tall.min(rows.max(1)), wide)
}

/// Regions of at most `tile` that cover a raster, row by row.
fn tiles((rows, cols): (usize, usize), tile: (usize, usize)) -> impl Iterator<Item = PixelRegion> {
    (0..rows).step_by(tile.0).flat_map(move |row| {
        let rows = row..(row + tile.0).min(rows);
        (0..cols).step_by(tile.1).map(move |col| PixelRegion::new(rows.clone(), col..(col + tile.1).min(cols)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_hold_whole_blocks_and_fit_into_memory() {
        for (shape, block, bands, expected) in [
            ((30, 30), Some((30, 30)), 212, (30, 30)),
            ((1242, 1280), Some((1, 1280)), 285, (11, 1280)),
            ((1242, 1280), Some((64, 64)), 285, (64, 192)),
            ((1242, 1280), Some((256, 256)), 285, (57, 256)),
            ((1242, 1280), None, 285, (11, 1280)),
            ((10, 9_000_000), Some((1, 9_000_000)), 3, (1, 1_398_101)),
            ((5, 7), Some((512, 512)), 1, (5, 7)),
        ] {
            let tile = tile_shape(shape, block, bands);
            assert_eq!(tile, expected, "{shape:?} {block:?}");
            assert!(tile.0 * tile.1 * bands * 8 <= TILE_BYTES);
            let pixels: usize = tiles(shape, tile).map(|region| region.len()).sum();
            assert_eq!(pixels, shape.0 * shape.1);
        }
    }
}
