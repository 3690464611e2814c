//! How far the clear pixels of each date depart from the baselines, on average: one pass over the instruments.

use std::sync::Arc;

use ndarray::Array3;

use super::evidence::{Dated, FARTHEST_DAYS, between};
use crate::engine::{Fusion, Progress, TileBatch};
use crate::error::Result;
use crate::geometry::{Date, PixelRegion};
use crate::model::ObservationModel;
use crate::source::{RasterSource, Slice};
use crate::validate::source::WithholdingSource;

/// Sum of values and their number.
type Sum = (f64, u64);

/// The residuals of an instrument by date and band.
#[derive(Clone, Debug, Default)]
pub(super) struct Residuals {
    dates: Vec<Date>,
    bands: usize,
    /// Of the last clear value and of the line, band by band of each date.
    sums: Vec<[Sum; 2]>,
}

/// The two latest clear values of a pixel, and the position of the later one's date.
#[derive(Clone, Copy, Debug)]
struct Trail {
    before: Dated,
    latest: Dated,
    position: usize,
}

/// What is known of the pixels of an instrument in a tile.
#[derive(Debug)]
struct Trails {
    /// Whether the tile counts the pixel: one tile holds the cell at its centre. **Shape** (y, x).
    counts: Vec<bool>,
    /// **Shape** (band, y, x).
    trails: Array3<Trail>,
}

impl Residuals {
    /// The residuals of each instrument; empty where no blocks are withheld: a whole withheld date has no clear pixels.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn of_all(
        fusion: &Fusion,
        sources: &[Arc<WithholdingSource>],
        mut progress: impl FnMut(&Progress),
    ) -> Result<Vec<Self>> {
        let models = fusion.instruments();
        let wanted = |k: usize| sources[k].mask().blocks().is_some();
        let mut all: Vec<Self> = Vec::with_capacity(models.len());
        for (k, model) in models.iter().enumerate() {
            all.push(if wanted(k) { Self::new(sources[k].dates(), model.source_bands.len()) } else { Self::default() });
        }
        let mut trails: Vec<Option<Trails>> = models.iter().map(|_| None).collect();
        let mut readings = fusion.readings(wanted);
        while let Some(TileBatch { tile, readings: batch, last }) = readings.next_batch()? {
            for (k, slice) in batch.iter().flat_map(|reading| &reading.slices) {
                let new = || Trails::new(&models[*k], fusion.target().shape(), &tile.region, &slice.region);
                all[*k].read(trails[*k].get_or_insert_with(new), slice);
            }
            if last {
                for (k, trails) in trails.iter_mut().enumerate() {
                    trails.take().into_iter().for_each(|trails| all[k].end(&trails));
                }
            }
            progress(&readings.progress());
        }
        Ok(all)
    }

    fn new(dates: &[Date], bands: usize) -> Self {
        Self { dates: dates.to_vec(), bands, sums: vec![<[Sum; 2]>::default(); dates.len() * bands] }
    }

    /// Adds the clear values of a date.
    fn read(&mut self, trails: &mut Trails, slice: &Slice) {
        let Ok(position) = self.dates.binary_search(&slice.date) else { return };
        let day = slice.date.days_since_epoch();
        let pixels = trails.counts.len().max(1);
        for (at, (trail, &value)) in trails.trails.iter_mut().zip(&slice.values).enumerate() {
            if value.is_nan() || !trails.counts[at % pixels] {
                continue;
            }
            let (band, now) = (at / pixels, Dated { day, value });
            if trail.latest.is_known() {
                self.add(position, band, 0, value - trail.latest.value);
                self.end_of(trail, band, now);
            }
            *trail = Trail { before: trail.latest, latest: now, position };
        }
    }

    /// The residual of the line at the latest value of a trail, with the value that follows.
    fn end_of(&mut self, trail: &Trail, band: usize, next: Dated) {
        let near = next.is_known() && next.day - trail.latest.day <= FARTHEST_DAYS;
        let line = between(trail.before, if near { next } else { Dated::NONE }, trail.latest.day);
        if !line.is_nan() {
            self.add(trail.position, band, 1, trail.latest.value - line);
        }
    }

    /// Ends a tile: nothing follows the latest values.
    fn end(&mut self, trails: &Trails) {
        for ((band, ..), trail) in trails.trails.indexed_iter().filter(|(_, trail)| trail.latest.is_known()) {
            self.end_of(trail, band, Dated::NONE);
        }
    }

    fn add(&mut self, position: usize, band: usize, which: usize, residual: f64) {
        let (sum, count) = &mut self.sums[position * self.bands + band][which];
        (*sum, *count) = (*sum + residual, *count + 1);
    }

    /// The mean residuals of a date and band; NaN without clear pixels.
    pub(super) fn mean(&self, date: Date, band: usize) -> [f64; 2] {
        let position = self.dates.binary_search(&date).ok();
        let sums = position.map_or_else(Default::default, |position| self.sums[position * self.bands + band]);
        sums.map(|(sum, count)| sum / count as f64)
    }
}

impl Trails {
    /// For the pixels of `region` of an instrument, in a tile of a grid of `shape` cells.
    fn new(model: &ObservationModel, shape: (usize, usize), tile: &PixelRegion, region: &PixelRegion) -> Self {
        let counts = |(row, col): (usize, usize)| {
            let (row, col) = model.lattice.nearest_cell(row, col, shape);
            tile.rows.contains(&(row as usize)) && tile.cols.contains(&(col as usize))
        };
        let pixels = region.rows.clone().flat_map(|row| region.cols.clone().map(move |col| (row, col)));
        let none = Trail { before: Dated::NONE, latest: Dated::NONE, position: 0 };
        let (rows, cols) = region.shape();
        Self {
            counts: pixels.map(counts).collect(),
            trails: Array3::from_elem((model.source_bands.len(), rows, cols), none),
        }
    }
}
