//! Observations of one window on one date, as sparse rows of pseudo-observations.

mod together;

use std::ops::Range;

use super::workspace::{MOST_BLOCK_ROWS, USUAL_BLOCK_ROWS};
use super::{BandModel, Compression, CompressionCache};

/// A channel of a pixel: `scale` times the weighted sum of states `offset + states[k]`, which one column of the band
/// model multiplies.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    /// Added to every state index.
    pub offset: usize,
    /// Factor on every weight.
    pub scale: f64,
    /// State indices.
    pub states: &'a [u32],
    /// Their weights.
    pub weights: &'a [f64],
}

/// A single piece is a channel, too.
impl IntoIterator for Channel<'_> {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

/// The pseudo-observations of one window on one date: sparse rows, their noise, grouped by pixel and instrument.
///
/// Noise is independent between pixels. With several columns ([`set_columns`](Self::set_columns)) each row observes the
/// means of all of them, with the same noise variance. The object is reused for every date; clearing it retains its memory.
#[derive(Debug, Default)]
pub struct Observations {
    /// Start of each row's entries, and the end as the last element.
    starts: Vec<usize>,
    states: Vec<u32>,
    weights: Vec<f64>,
    /// Columns beside the first.
    further: usize,
    /// **Shape** (rows, columns).
    z: Vec<f64>,
    /// Start of each row's noise, and the end as the last element.
    noise_starts: Vec<usize>,
    /// Noise covariance of a row with the preceding rows of its pixel and with itself.
    noise: Vec<f64>,
    pixels: Vec<PixelRows>,
    groups: Vec<InstrumentPixels>,
    /// Whether an update of one column sums squares.
    sum_squares: bool,
    residuals: Vec<f64>,
    probe: Vec<f64>,
}

/// The rows of one pixel and its terms of the likelihood outside these rows.
#[derive(Clone, Debug)]
pub(super) struct PixelRows {
    pub(super) rows: Range<usize>,
    pub(super) values: usize,
    pub(super) left_out: f64,
    pub(super) log_det: f64,
    pub(super) information: f64,
}

/// The pixels of one instrument.
#[derive(Clone, Debug)]
pub(super) struct InstrumentPixels {
    pub(super) instrument: usize,
    pub(super) pixels: Range<usize>,
}

impl Observations {
    /// An empty set of observations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all rows and groups. The number of columns stays.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.states.clear();
        self.weights.clear();
        self.z.clear();
        self.noise_starts.clear();
        self.noise.clear();
        self.pixels.clear();
        self.groups.clear();
    }

    /// Number of pseudo-observations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is no observation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Number of pixels that hold a value, over all groups.
    #[must_use]
    pub fn pixels(&self) -> usize {
        self.pixels.len()
    }

    /// Starts the pixels of an instrument. Diagnostics are separate for each instrument.
    pub fn begin_group(&mut self, instrument: usize) {
        self.groups.push(InstrumentPixels { instrument, pixels: self.pixels.len()..self.pixels.len() });
    }

    /// Adds a pixel of the current instrument: `values` (one per band of `model`, NaN where missing) observe
    /// `channel(j)` (or the sum of several) for each column j of the design. Returns whether the pixel was added; a
    /// pixel without values is not.
    ///
    /// # Panics
    /// When `values` do not match the model's bands, or there are several columns.
    pub fn push_pixel<'c, C: IntoIterator<Item = Channel<'c>>>(
        &mut self,
        model: &BandModel,
        channel: impl Fn(usize) -> C,
        values: &[f64],
        cache: &mut CompressionCache,
    ) -> bool {
        assert_eq!(values.len(), model.bands(), "one value per band");
        let Some(group) = self.groups.last() else { return false };
        let Some(compression) = cache.get(group.instrument, model, values) else { return false };
        self.push(model, compression, channel, values);
        true
    }

    /// Like [`push_pixel`](Self::push_pixel), for a pixel with its own noise variance for each band.
    ///
    /// # Panics
    /// As for `push_pixel`, and when the number of `noise_variance` differs from the number of bands, or the variance
    /// of a present band is not positive and finite.
    pub fn push_noisy_pixel<'c, C: IntoIterator<Item = Channel<'c>>>(
        &mut self,
        model: &BandModel,
        channel: impl Fn(usize) -> C,
        values: &[f64],
        noise_variance: &[f64],
    ) -> bool {
        assert_eq!(values.len(), model.bands(), "one value per band");
        let present: Vec<usize> = (0..values.len()).filter(|&band| !values[band].is_nan()).collect();
        if present.is_empty() || self.groups.is_empty() {
            return false;
        }
        let model = model.with_noise(noise_variance);
        self.push(&model, &Compression::new(&model, present), channel, values);
        true
    }

    /// Adds a probe: a pixel of the current instrument that is to be predicted, not assimilated. Only one of its
    /// bands is present. Its value is the value at zero channels plus one unit, so that the pseudo-observation gives
    /// its own scale ([`State::predicted_observation`](super::State::predicted_observation)).
    ///
    /// # Panics
    /// When the model has no such band.
    pub fn push_probe<'c, C: IntoIterator<Item = Channel<'c>>>(
        &mut self,
        model: &BandModel,
        band: usize,
        channel: impl Fn(usize) -> C,
        cache: &mut CompressionCache,
    ) {
        let mut values = std::mem::take(&mut self.probe);
        values.clear();
        values.resize(model.bands(), f64::NAN);
        values[band] = model.offsets()[band] + 1.0;
        self.push_pixel(model, channel, &values, cache);
        self.probe = values;
    }

    fn push<'c, C: IntoIterator<Item = Channel<'c>>>(
        &mut self,
        model: &BandModel,
        compression: &Compression,
        channel: impl Fn(usize) -> C,
        values: &[f64],
    ) {
        assert_eq!(self.further, 0, "one column");
        let first = self.len();
        let left_out = compression.project(model, values, &mut self.residuals, &mut self.z);
        self.begin_rows();
        for k in 0..compression.rank() {
            match compression.weights(k) {
                None => push_channel(&mut self.states, &mut self.weights, channel(k), 1.0),
                Some(weights) => {
                    for (j, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                        push_channel(&mut self.states, &mut self.weights, channel(j), weight);
                    }
                }
            }
            self.end_row(compression.noise(k));
        }
        self.end_pixel(PixelRows {
            rows: first..self.len(),
            values: compression.bands(),
            left_out,
            log_det: compression.log_det(),
            information: compression.information(),
        });
    }

    /// Writes where the first row starts, before any is pushed.
    fn begin_rows(&mut self) {
        if self.starts.is_empty() {
            self.starts.push(0);
            self.noise_starts.push(0);
        }
    }

    /// Ends a row, whose entries have been pushed, with its noise.
    fn end_row(&mut self, noise: &[f64]) {
        self.starts.push(self.states.len());
        self.noise.extend_from_slice(noise);
        self.noise_starts.push(self.noise.len());
    }

    /// Adds a pixel, whose rows have been pushed, to the current group.
    fn end_pixel(&mut self, pixel: PixelRows) {
        self.pixels.push(pixel);
        if let Some(group) = self.groups.last_mut() {
            group.pixels.end = self.pixels.len();
        }
    }

    /// Multiplies the noise variances of a pixel by `factor`. The result equals the pixel pushed with that noise.
    /// `pixel` counts over all groups.
    pub fn scale_noise(&mut self, pixel: usize, factor: f64) {
        let columns = self.columns();
        let pixel = &mut self.pixels[pixel];
        let noise = self.noise_starts[pixel.rows.start]..self.noise_starts[pixel.rows.end];
        self.noise[noise].iter_mut().for_each(|value| *value *= factor);
        // log det V contains the factor once per value; each row already accounts for one in each column.
        pixel.log_det += (pixel.values - pixel.rows.len() * columns) as f64 * factor.ln();
        pixel.left_out /= factor;
        pixel.information /= factor;
    }

    /// Retains the pixels for which `keep` (given their position) is true, in their order.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let columns = self.columns();
        let (mut pixels, mut rows, mut entries, mut noise) = (0, 0, 0, 0);
        for group in 0..self.groups.len() {
            let held = self.groups[group].pixels.clone();
            let first = pixels;
            for index in held {
                if !keep(index) {
                    continue;
                }
                let mut pixel = self.pixels[index].clone();
                let first_row = rows;
                for row in pixel.rows.clone() {
                    let (from, covered) = (self.row_entries(row), self.noise_entries(row));
                    self.states.copy_within(from.clone(), entries);
                    self.weights.copy_within(from.clone(), entries);
                    self.noise.copy_within(covered.clone(), noise);
                    self.z.copy_within(row * columns..(row + 1) * columns, rows * columns);
                    (rows, entries, noise) = (rows + 1, entries + from.len(), noise + covered.len());
                    (self.starts[rows], self.noise_starts[rows]) = (entries, noise);
                }
                pixel.rows = first_row..rows;
                self.pixels[pixels] = pixel;
                pixels += 1;
            }
            self.groups[group].pixels = first..pixels;
        }
        self.pixels.truncate(pixels);
        self.z.truncate(rows * columns);
        self.starts.truncate(rows + 1);
        self.noise_starts.truncate(rows + 1);
        self.states.truncate(entries);
        self.weights.truncate(entries);
        self.noise.truncate(noise);
    }

    pub(super) fn groups(&self) -> &[InstrumentPixels] {
        &self.groups
    }

    /// Rows of a group's pixels.
    pub(super) fn rows_of(&self, group: usize) -> Range<usize> {
        let pixels = &self.pixels[self.groups[group].pixels.clone()];
        let end = |pixel: &PixelRows| pixel.rows.end;
        pixels.first().map_or(0, |pixel| pixel.rows.start)..pixels.last().map_or(0, end)
    }

    pub(super) fn pixel(&self, index: usize) -> &PixelRows {
        &self.pixels[index]
    }

    /// Largest reciprocal of a noise variance.
    pub(super) fn information(&self) -> f64 {
        self.pixels.iter().map(|pixel| pixel.information).fold(0.0, f64::max)
    }

    /// The pseudo-observation of a row in column 0.
    pub(super) fn z(&self, row: usize) -> f64 {
        self.z[row * self.columns()]
    }

    /// `z - H m` of a row in a column, whose mean is `mean`.
    pub(super) fn innovation(&self, row: usize, column: usize, mean: &[f64]) -> f64 {
        self.z[row * self.columns() + column] - self.row(row).map(|(state, weight)| weight * mean[state]).sum::<f64>()
    }

    fn row_entries(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    fn noise_entries(&self, row: usize) -> Range<usize> {
        self.noise_starts[row]..self.noise_starts[row + 1]
    }

    /// States and weights of the entries of consecutive rows.
    pub(super) fn entries(&self, rows: Range<usize>) -> (&[u32], &[f64]) {
        let entries = self.starts[rows.start]..self.starts[rows.end];
        (&self.states[entries.clone()], &self.weights[entries])
    }

    /// (state, weight) of the entries of a row.
    pub(super) fn row(&self, row: usize) -> impl ExactSizeIterator<Item = (usize, f64)> + Clone + '_ {
        let entries = self.row_entries(row);
        self.states[entries.clone()].iter().map(|&state| state as usize).zip(self.weights[entries].iter().copied())
    }

    /// Sum of the absolute weights: the variance of a row is at most its square times the largest variance of a
    /// state.
    pub(super) fn reach(&self, row: usize) -> f64 {
        self.row(row).map(|(_, weight)| weight.abs()).sum()
    }

    /// Noise covariance of a row with the rows just before it and, last, with itself.
    pub(super) fn noise(&self, row: usize) -> &[f64] {
        &self.noise[self.noise_entries(row)]
    }

    /// The next block of rows, starting at `first`; blocks have similar lengths. Rows that share noise are never
    /// separated.
    pub(super) fn block(&self, first: usize) -> Range<usize> {
        let rest = self.len() - first;
        let blocks = ((rest + USUAL_BLOCK_ROWS / 2) / USUAL_BLOCK_ROWS).max(1);
        let mut end = first + rest.div_ceil(blocks);
        debug_assert!(end - first <= MOST_BLOCK_ROWS);
        while end < self.len() && self.noise_entries(end).len() > 1 {
            end -= 1;
        }
        first..end
    }
}

/// Appends the entries of a channel's pieces, times `weight`, to the row that is being pushed.
fn push_channel<'c>(
    states: &mut Vec<u32>,
    weights: &mut Vec<f64>,
    pieces: impl IntoIterator<Item = Channel<'c>>,
    weight: f64,
) {
    for piece in pieces {
        states.extend(piece.states.iter().map(|&state| state + piece.offset as u32));
        weights.extend(piece.weights.iter().map(|w| w * (piece.scale * weight)));
    }
}
