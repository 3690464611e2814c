//! Factors of change that vary over the scene, read from a raster.

use std::sync::Arc;

use ndarray::Array3;

use super::Average;
use super::raster::{check_cover, read_around};
use crate::describe::{Key, Variation};
use crate::error::{Error, Result};
use crate::geometry::{Grid, Rect};
use crate::source::RasterSource;

const KEY: &str = "process.variation.map";

/// Factors beyond which, either way, a raster is not one of factors.
const LARGEST: f64 = 1e3;

impl VariationModel {
    /// Checks a map of factors against the target grid, for `p` components.
    ///
    /// # Errors
    /// [`Error::Setting`] by key, [`Error::CrsMismatch`].
    pub(crate) fn new(described: &Variation, p: usize, target: &Grid) -> Result<Self> {
        let source = Arc::clone(described.map.source(&Key::from(KEY))?);
        check_cover(KEY, source.as_ref(), target)?;
        let bands = source.bands().len();
        if bands != 1 && bands != p {
            let problem =
                format!("{} has {bands} bands; a map has one for all {p} components, or one for each", source.origin());
            return Err(Error::setting(KEY, problem));
        }
        Ok(Self { source, p })
    }
}

/// Factors of the variance of change, checked.
#[derive(Clone, Debug)]
pub(crate) struct VariationModel {
    source: Arc<dyn RasterSource>,
    p: usize,
}

impl VariationModel {
    /// Where they are read from.
    pub(crate) fn source(&self) -> &dyn RasterSource {
        self.source.as_ref()
    }

    /// Bytes that a cell takes: as it is read and as it is kept.
    pub(crate) fn cell_bytes(&self) -> u64 {
        (2 * self.source.bands().len() * size_of::<f64>()) as u64
    }

    /// Whether some components vary alike.
    pub(crate) fn is_common(&self, components: &[usize]) -> bool {
        components.len() < 2 || self.source.bands().len() == 1
    }

    /// The factors of the cells of `rect`.
    ///
    /// # Errors
    /// Those of reading the raster; [`Error::Setting`] for what is no factor.
    pub(crate) fn read(&self, target: &Grid, rect: &Rect) -> Result<VariationValues> {
        let bands: Vec<usize> = (0..self.source.bands().len()).collect();
        let (mut values, first) = read_around(KEY, self.source.as_ref(), &bands, target, rect)?;
        for ((band, row, col), value) in values.indexed_iter_mut() {
            let factor = if value.is_nan() { 1.0 } else { *value };
            if !(LARGEST.recip()..=LARGEST).contains(&factor) {
                let (row, col) = (row as i64 + first.0, col as i64 + first.1);
                let problem = format!(
                    "{}: {factor} in band {}, row {row}, column {col} of the target; factors lie between {} and {LARGEST}",
                    self.source.origin(),
                    band + 1,
                    LARGEST.recip()
                );
                return Err(Error::setting(KEY, problem));
            }
            *value = factor.sqrt();
        }
        Ok(VariationValues { values, first, p: self.p })
    }
}

/// Factors of the standard deviation of change of the cells around a tile.
#[derive(Clone, Debug)]
pub(crate) struct VariationValues {
    /// **Shape** (band, y, x).
    values: Array3<f64>,
    /// The first cell on the target lattice.
    first: (i64, i64),
    /// Number of components.
    p: usize,
}

impl VariationValues {
    /// Factors of some states, averages of the target's cells, for each component.
    pub(crate) fn of_states(&self, states: &[Average]) -> Vec<Vec<f64>> {
        let of_band = |band: usize| states.iter().map(|state| self.average(band, state)).collect();
        let bands: Vec<Vec<f64>> = (0..self.values.dim().0).map(of_band).collect();
        (0..self.p).map(|component| bands[component.min(bands.len() - 1)].clone()).collect()
    }

    fn average(&self, band: usize, state: &Average) -> f64 {
        if let Some((row, col)) = state.single_cell() {
            return self.at(band, row, col);
        }
        let cells = state.rects().iter().flat_map(Rect::cells);
        let sum: f64 = cells.map(|(row, col)| state.weight(row, col) * self.at(band, row, col)).sum();
        sum / state.total()
    }

    /// That of a cell, or of the nearest that is known.
    fn at(&self, band: usize, row: i64, col: i64) -> f64 {
        let (_, rows, cols) = self.values.dim();
        let nearest = |at: i64, first: i64, cells: usize| (at - first).clamp(0, cells as i64 - 1) as usize;
        self.values[(band, nearest(row, self.first.0, rows), nearest(col, self.first.1, cols))]
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::geometry::{Crs, Date};
    use crate::model::Profile;
    use crate::source::MemorySource;

    fn grid() -> Grid {
        Grid::new(Crs::unknown(), [0.0, 10.0, 0.0, 1000.0, 0.0, -10.0], (20, 30)).unwrap()
    }

    /// Factors of two bands; standard deviations are row + 1, and column + 1.
    fn model(change: impl FnOnce(&mut Array4<f64>)) -> VariationModel {
        let mut values = Array4::from_shape_fn((1, 2, 20, 30), |(_, band, row, col)| {
            ((if band == 0 { row } else { col } + 1) as f64).powi(2)
        });
        change(&mut values);
        let map = MemorySource::new(grid(), vec![Date::from_days(0)], vec!["a".into(), "b".into()], values).unwrap();
        VariationModel::new(&Variation::of(map), 2, &grid()).unwrap()
    }

    #[test]
    fn cells_have_their_factors_and_beyond_the_raster_those_of_its_edge() {
        let read = model(|_| ()).read(&grid(), &Rect::new(3..12, 4..90)).unwrap();
        let states = [Average::cell(5, 20), Average::cell(11, 29), Average::cell(8, 80)];
        assert_eq!(read.of_states(&states), [vec![6.0, 12.0, 9.0], vec![21.0, 30.0, 30.0]]);
    }

    #[test]
    fn averages_have_the_average_factor_of_their_cells() {
        let read = model(|_| ()).read(&grid(), &Rect::new(0..20, 0..30)).unwrap();
        let rects = vec![Rect::new(8..13, 8..13), Rect::new(14..15, 8..18)];
        let of = |average: Average| read.of_states(&[average])[0][0];
        let expected = (25.0 * 11.0 + 10.0 * 15.0) / 35.0;
        assert!((of(Average::new(rects, None)) - expected).abs() < 1e-12);
        // Weights of a footprint count: here one of three rows all but alone.
        let profile = Profile { first: (10, 10), rows: [1e-9, 1e-9, 1.0].into(), cols: [1.0].into() };
        assert!((of(Average::new(vec![Rect::new(10..13, 10..11)], Some(profile))) - 13.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_missing_is_one_and_what_is_no_factor_is_refused() {
        let missing = model(|values| values[(0, 0, 5, 6)] = f64::NAN).read(&grid(), &Rect::new(0..20, 0..30)).unwrap();
        assert_eq!(missing.of_states(&[Average::cell(5, 6)]), [vec![1.0], vec![7.0]]);
        for wrong in [0.0, -1.0, 1e7] {
            let wrong = model(|values| values[(0, 1, 5, 6)] = wrong);
            let message = wrong.read(&grid(), &Rect::new(0..20, 0..30)).unwrap_err().to_string();
            assert!(message.contains("band 2, row 5, column 6") && message.contains(KEY), "{message}");
            // It is not looked for where it is not read.
            assert!(wrong.read(&grid(), &Rect::new(6..20, 0..30)).is_ok());
        }
    }

    #[test]
    fn a_map_covers_the_target_with_one_band_or_one_for_each_component() {
        let two = model(|_| ()).source;
        let map = Variation { map: crate::describe::Raster::from(two) };
        assert!(VariationModel::new(&map, 3, &grid()).unwrap_err().to_string().contains("one for all 3 components"));
        let larger = Grid::new(Crs::unknown(), [0.0, 10.0, 0.0, 1000.0, 0.0, -10.0], (20, 31)).unwrap();
        assert!(VariationModel::new(&map, 2, &larger).unwrap_err().to_string().contains("does not cover"));
    }
}
