//! The mean function of a fusion whose state is the anomaly: subtracted from the input, added to the output.
//!
//! Means are linear in their coefficients, so the mean of a footprint has the footprint's average coefficients. These
//! are computed once for every pixel of a tile, over its full footprint. They do not depend on windows, and windows
//! do not use them.

use ndarray::{Array2, Array4, Zip, s};
use rayon::prelude::*;

use super::output::Projection;
use crate::error::Result;
use crate::geometry::{Date, Grid, PixelRegion, Rect};
use crate::model::{Average, ObservationModel};
use crate::seasonal::{Harmonics, SeasonalMean};
use crate::series::FusedBlock;
use crate::source::Slice;

/// Number of rows of cells that are read at once for the averages of coarse pixels: chunks of a store are decoded
/// once or twice.
pub(super) const STRIP_ROWS: i64 = 512;

/// The curves of cells or pixels.
#[derive(Debug)]
pub(super) struct Curves {
    harmonics: Harmonics,
    /// **Shape** (component, term, y, x).
    coefficients: Array4<f64>,
}

impl Curves {
    /// The curves of the cells of a tile.
    pub(super) fn for_cells(mean: &SeasonalMean, target: &Grid, tile: &PixelRegion) -> Result<Self> {
        let slice = mean.slice(target, &Rect::from(tile))?;
        Ok(Self { harmonics: mean.harmonics(), coefficients: slice.into_coefficients() })
    }

    /// The curves of the pixels of an instrument, averaged over their footprints.
    pub(super) fn for_pixels(
        mean: &SeasonalMean,
        target: &Grid,
        instrument: &ObservationModel,
        pixels: &PixelRegion,
    ) -> Result<Self> {
        let (harmonics, lattice) = (mean.harmonics(), &instrument.lattice);
        let (p, terms) = (mean.components().len(), harmonics.terms());
        let row_of = |row: usize| lattice.rect(row, pixels.cols.start).hull(&lattice.rect(row, pixels.cols.end - 1));
        let mut coefficients = Array4::zeros((p, terms, pixels.rows.len(), pixels.cols.len()));
        let mut row = pixels.rows.start;
        while row < pixels.rows.end {
            let mut strip = row_of(row);
            let first = row;
            row += 1;
            while row < pixels.rows.end && strip.hull(&row_of(row)).bottom - strip.top <= STRIP_ROWS {
                strip = strip.hull(&row_of(row));
                row += 1;
            }
            let slice = mean.slice(target, &strip)?;
            for (y, x) in (first..row).flat_map(|y| pixels.cols.clone().map(move |x| (y, x))) {
                let average = Average::new(vec![lattice.rect(y, x)], lattice.profile(y, x));
                for (j, k) in (0..p).flat_map(|j| (0..terms).map(move |k| (j, k))) {
                    coefficients[(j, k, y - pixels.rows.start, x - pixels.cols.start)] =
                        slice.coefficient_of(j, k, &average);
                }
            }
        }
        Ok(Self { harmonics, coefficients })
    }

    /// The mean of a component on a date with these terms.
    fn mean(&self, component: usize, terms: &[f64], out: &mut Array2<f64>) {
        out.fill(0.0);
        for (k, &term) in terms.iter().enumerate() {
            let coefficients = self.coefficients.slice(s![component, k, .., ..]);
            Zip::from(&mut *out).and(coefficients).for_each(|out, coefficient| *out += term * coefficient);
        }
    }

    fn terms(&self, date: Date) -> Vec<f64> {
        let mut terms = vec![0.0; self.harmonics.terms()];
        self.harmonics.evaluate(date, &mut terms);
        terms
    }

    /// Those of an instrument's pixels: of composites the average over the days that stand for their window.
    fn averaged_terms(&self, instrument: &ObservationModel, date: Date) -> Vec<f64> {
        let Some(composite) = &instrument.composite else { return self.terms(date) };
        let mut average = vec![0.0; self.harmonics.terms()];
        for (day, weight) in composite.nodes(instrument.counts_on(date)) {
            average.iter_mut().zip(self.terms(day)).for_each(|(average, term)| *average += weight * term);
        }
        average
    }

    fn plane(&self) -> Array2<f64> {
        let (_, _, rows, cols) = self.coefficients.dim();
        Array2::zeros((rows, cols))
    }

    /// Subtracts the mean from the bands of a slice of these pixels.
    pub(super) fn subtract(&self, instrument: &ObservationModel, slice: &mut Slice) {
        self.add_times(-1.0, instrument, slice);
    }

    /// Adds the mean that was subtracted.
    pub(super) fn restore(&self, instrument: &ObservationModel, slice: &mut Slice) {
        self.add_times(1.0, instrument, slice);
    }

    fn add_times(&self, sign: f64, instrument: &ObservationModel, slice: &mut Slice) {
        let (terms, mut mean) = (self.averaged_terms(instrument, slice.date), self.plane());
        let design = instrument.design();
        for component in (0..design.ncols()).filter(|&j| instrument.observes(j)) {
            self.mean(component, &terms, &mut mean);
            for (band, &weight) in design.column(component).iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
                for values in [Some(&mut slice.values), slice.withheld.as_mut()].into_iter().flatten() {
                    let values = values.slice_mut(s![band, .., ..]);
                    Zip::from(values).and(&mean).for_each(|value, mean| *value += sign * weight * mean);
                }
            }
        }
    }

    /// Adds the mean of these cells to their blocks.
    pub(super) fn add(&self, projection: &Projection, blocks: &mut [FusedBlock]) {
        blocks.par_iter_mut().for_each(|block| {
            let (terms, mut mean) = (self.terms(block.date), self.plane());
            for component in 0..self.coefficients.dim().0 {
                self.mean(component, &terms, &mut mean);
                projection.spread(component, |layer, weight| {
                    let values = block.mean.slice_mut(s![layer, .., ..]);
                    Zip::from(values).and(&mean).for_each(|value, mean| *value += weight * mean);
                });
            }
        });
    }
}
