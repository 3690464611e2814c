//! Overviews: the same series on coarser grids, each a group of the store, and the convention that names them.
//!
//! A tile of the grid is a tile of each overview, with half the cells a side from one to the next. So its chunks are
//! written, recorded, revealed and made again together with those of the tile.

use ndarray::{Array3, ArrayView3, Zip};
use serde_json::{Value, json};

use crate::error::Result;
use crate::geometry::Grid;
use crate::series::SeriesLayout;

/// Groups of overviews, from fine to coarse: cells a side that a cell averages, path, means, standard deviations.
const LEVELS: [(usize, &str, [&str; 2]); 8] = [
    (2, "overviews/2", ["overviews/2/mean", "overviews/2/sd"]),
    (4, "overviews/4", ["overviews/4/mean", "overviews/4/sd"]),
    (8, "overviews/8", ["overviews/8/mean", "overviews/8/sd"]),
    (16, "overviews/16", ["overviews/16/mean", "overviews/16/sd"]),
    (32, "overviews/32", ["overviews/32/mean", "overviews/32/sd"]),
    (64, "overviews/64", ["overviews/64/mean", "overviews/64/sd"]),
    (128, "overviews/128", ["overviews/128/mean", "overviews/128/sd"]),
    (256, "overviews/256", ["overviews/256/mean", "overviews/256/sd"]),
];

/// The group of all overviews.
pub(super) const GROUP: &str = "overviews";

/// An overview.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Cells a side that a cell averages.
    pub(super) factor: usize,
    /// Path of its group.
    pub(super) group: &'static str,
    /// Paths of means and of standard deviations.
    pub(super) arrays: [&'static str; 2],
}

/// The first `count` overviews.
pub(super) fn levels(count: usize) -> impl Iterator<Item = Level> {
    LEVELS.into_iter().take(count).map(|(factor, group, arrays)| Level { factor, group, arrays })
}

/// Arrays of overviews that may have a chunk for each tile and date, in the order of their records.
pub(super) fn tiled(count: usize) -> impl Iterator<Item = &'static str> {
    levels(count).flat_map(|level| level.arrays)
}

/// All such arrays that any store has.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    tiled(LEVELS.len())
}

impl Level {
    /// The grid whose cells are each so many of this one.
    fn grid(self, grid: &Grid) -> Result<Grid> {
        let [left, width, _, top, _, height] = grid.geotransform();
        let ((rows, cols), times) = (grid.shape(), self.factor as f64);
        let transform = [left, times * width, 0.0, top, 0.0, times * height];
        Grid::new(grid.crs().clone(), transform, (rows.div_ceil(self.factor), cols.div_ceil(self.factor)))
    }

    /// The layout of this overview of a series.
    pub(super) fn layout(self, layout: &SeriesLayout) -> Result<SeriesLayout> {
        let mut coarse = layout.clone();
        coarse.grid = self.grid(&layout.grid)?;
        let (rows, cols) = layout.tile_shape;
        coarse.tile_shape = (rows.div_ceil(self.factor), cols.div_ceil(self.factor));
        (coarse.offsets, coarse.overviews) = (Vec::new(), 0);
        Ok(coarse)
    }
}

/// Sums of the values of cells, and how many there are.
pub(super) struct Sums {
    sums: Array3<f64>,
    counts: Array3<f64>,
}

impl Sums {
    /// Of single cells, **shape** (layer, y, x); none of NaN.
    pub(super) fn of(values: ArrayView3<'_, f64>) -> Self {
        let counts = values.mapv(|value| if value.is_nan() { 0.0 } else { 1.0 });
        let sums = values.mapv(|value| if value.is_nan() { 0.0 } else { value });
        Self { sums, counts }
    }

    /// Of two by two of these; fewer at the end.
    pub(super) fn halved(&self) -> Self {
        Self { sums: halved(&self.sums), counts: halved(&self.counts) }
    }

    /// Their averages; NaN where there is none.
    pub(super) fn averages(&self) -> Array3<f64> {
        Zip::from(&self.sums).and(&self.counts).map_collect(|sum, count| sum / count)
    }
}

/// Sums of two by two.
fn halved(values: &Array3<f64>) -> Array3<f64> {
    let (layers, rows, cols) = values.dim();
    let mut sums = Array3::zeros((layers, rows.div_ceil(2), cols.div_ceil(2)));
    for ((layer, row, col), value) in values.indexed_iter() {
        sums[(layer, row / 2, col / 2)] += value;
    }
    sums
}

/// The convention that names the overviews, among those of the group.
pub(super) fn convention() -> Value {
    json!({
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v0.1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v0.1/README.md",
        "uuid": "d35379db-88df-4056-af3a-620245f8e347",
        "name": "multiscales",
        "description": "Multiscale layout of zarr datasets"
    })
}

/// Where the overviews are: means and standard deviations, each with those that are derived from them. Axes are those of
/// the arrays: time, band, y, x.
pub(super) fn multiscales(fine: &Grid, overviews: &[(Level, &Grid)]) -> Value {
    let entry = |asset: &str, from: Option<&str>, factor: usize, grid: &Grid| {
        let (half, times) = (0.5 * (factor as f64 - 1.0), factor as f64);
        let [left, width, _, top, _, height] = grid.geotransform();
        let mut entry = json!({
            "asset": asset,
            "transform": { "scale": [1.0, 1.0, times, times], "translation": [0.0, 0.0, half, half] },
            "spatial:shape": [grid.rows(), grid.cols()],
            "spatial:transform": [width, 0.0, left, 0.0, height, top]
        });
        if let Some(from) = from {
            entry["derived_from"] = from.into();
        }
        entry
    };
    let mut layout = Vec::new();
    for (k, name) in ["mean", "sd"].into_iter().enumerate() {
        layout.push(entry(name, None, 1, fine));
        let coarse = overviews.iter();
        layout.extend(coarse.map(|(level, of)| entry(level.arrays[k], Some(name), level.factor, of)));
    }
    json!({ "layout": layout, "resampling_method": "average" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_averaged_as_far_as_they_have_a_value() {
        let nan = f64::NAN;
        let values = Array3::from_shape_vec((1, 3, 3), vec![1.0, 2.0, 8.0, nan, 3.0, 6.0, nan, nan, 5.0]).unwrap();
        let sums = Sums::of(values.view()).halved();
        let averages = sums.averages();
        assert_eq!((averages[(0, 0, 0)], averages[(0, 0, 1)], averages[(0, 1, 1)]), (2.0, 7.0, 5.0));
        assert!(averages[(0, 1, 0)].is_nan());
        // Every value counts once, not every average.
        assert_eq!(sums.halved().averages()[(0, 0, 0)], 25.0 / 6.0);
    }
}
