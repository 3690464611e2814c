//! Several fused series on one grid, read block by block.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::{Array3, Zip, s};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::geometry::{Date, Extent, Grid, PixelRegion};
use crate::sink::FusedSeries;
use crate::source::RasterSource;

/// Cells per side that a block has at least, where the scene is as large.
const BLOCK: usize = 512;

/// Series of the same bands on the same lattice.
#[derive(Debug)]
pub(super) struct Mosaic {
    parts: Vec<Part>,
    /// The union of their grids.
    grid: Grid,
    /// The dates that all of them show.
    dates: Vec<Date>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    series: FusedSeries,
}

impl Mosaic {
    pub(super) fn open(stores: Vec<PathBuf>) -> Result<Self> {
        let open = |path: PathBuf| FusedSeries::open(&path).map(|series| Part { path, series });
        let parts: Vec<Part> = stores.into_iter().map(open).collect::<Result<_>>()?;
        let Some(first) = parts.first() else {
            let problem = "no store is named".to_owned();
            return Err(Error::Export { path: PathBuf::new(), problem, source: None });
        };
        let mut area = first.series.grid().extent();
        for part in &parts[1..] {
            first.check_fits(part)?;
            let other = part.series.grid().extent();
            area = Extent {
                left: area.left.min(other.left),
                bottom: area.bottom.min(other.bottom),
                right: area.right.max(other.right),
                top: area.top.max(other.top),
            };
        }
        let (width, height) = first.series.grid().cell_size();
        let cells = |length: f64, cell: f64| (length / cell).round() as usize;
        let shape = (cells(area.top - area.bottom, height), cells(area.right - area.left, width));
        let crs = first.series.grid().crs().clone();
        let grid = Grid::new(crs, [area.left, width, 0.0, area.top, 0.0, -height], shape)?;
        let shown = |date: &&Date| parts.iter().all(|part| part.series.dates().binary_search(date).is_ok());
        let dates = first.series.dates().iter().filter(shown).copied().collect();
        Ok(Self { parts, grid, dates })
    }

    fn first(&self) -> &Part {
        // `open` refuses none.
        &self.parts[0]
    }

    pub(super) fn grid(&self) -> &Grid {
        &self.grid
    }

    pub(super) fn bands(&self) -> &[String] {
        self.first().series.bands()
    }

    pub(super) fn unit(&self) -> &str {
        self.first().series.unit()
    }

    pub(super) fn dates(&self) -> &[Date] {
        &self.dates
    }

    pub(super) fn path(&self) -> &Path {
        &self.first().path
    }

    /// Name of the first store, without its extension.
    pub(super) fn name(&self) -> String {
        let path = self.path().canonicalize().unwrap_or_else(|_| self.path().to_path_buf());
        path.file_stem().map_or_else(|| "fused".into(), |stem| stem.to_string_lossy().into_owned())
    }

    pub(super) fn series_ids(&self) -> Vec<String> {
        let id = |part: &Part| part.series.existing().identity.as_ref().map(|identity| identity.id.clone());
        self.parts.iter().filter_map(id).collect()
    }

    /// The settings that all series share, as JSON.
    pub(super) fn settings(&self) -> String {
        let mut shared = Map::new();
        for (key, value) in self.first().series.existing().settings.iter() {
            if self.parts.iter().all(|part| part.series.existing().settings.get(key) == Some(value)) {
                shared.insert(key.into(), value.into());
            }
        }
        Value::Object(shared).to_string()
    }

    /// What is wrong with a date that is not there.
    pub(super) fn check(&self, date: Date) -> Result<(), String> {
        let Err(place) = self.dates.binary_search(&date) else { return Ok(()) };
        let near = [place.checked_sub(1), Some(place)].into_iter().flatten();
        let near: Vec<String> = near.filter_map(|k| self.dates.get(k)).map(ToString::to_string).collect();
        let nearest =
            if near.is_empty() { "it shows no date".into() } else { format!("nearest are {}", near.join(" and ")) };
        for Part { path, series } in &self.parts {
            let existing = series.existing();
            let last = series.dates().last();
            if existing.visible < existing.planned.0
                && last.is_none_or(|last| *last < date)
                && date <= existing.planned.1
            {
                return Err(format!(
                    "{date} is not committed yet in {}: {}; finish the run, or take another date; {nearest}",
                    path.display(),
                    existing.describe()
                ));
            }
        }
        let lacking = self.parts.iter().find(|part| part.series.dates().binary_search(&date).is_err());
        let path = lacking.map_or_else(String::new, |part| format!(" in {}", part.path.display()));
        Err(format!("there is no {date}{path}; {nearest}"))
    }

    /// Regions of a part of the grid that are read at a time: whole chunks of the first store, so that few are decoded
    /// twice.
    pub(super) fn blocks(&self, part: &Grid) -> Vec<PixelRegion> {
        let first = &self.first().series;
        let (rows, cols) = part.shape();
        let (row, col) = part.lattice_offset(first.grid()).unwrap_or_default();
        let (height, width) = first.block_shape().unwrap_or((BLOCK, BLOCK));
        let (down, across) = (ranges(rows, row, height), ranges(cols, col, width));
        down.iter().flat_map(|rows| across.iter().map(|cols| PixelRegion::new(rows.clone(), cols.clone()))).collect()
    }

    /// Means and then standard deviations of some bands in a region of `grid`, a part of this grid, **shape** (2 bands,
    /// y, x); NaN where no series has a value.
    pub(super) fn read(
        &self,
        date: Date,
        bands: &[usize],
        (grid, region): (&Grid, &PixelRegion),
    ) -> Result<Array3<f32>> {
        let (rows, cols) = region.shape();
        let mut all = Array3::from_elem((2 * bands.len(), rows, cols), f32::NAN);
        for Part { series, .. } in &self.parts {
            let Some((row, col)) = grid.lattice_offset(series.grid()) else { continue };
            let (height, width) = series.grid().shape();
            let (down, across) = (overlap(&region.rows, row, height), overlap(&region.cols, col, width));
            if down.is_empty() || across.is_empty() {
                continue;
            }
            let own = PixelRegion::new(shifted(&down, -row), shifted(&across, -col));
            let (mean, sd) = series.values(date, bands, &own)?;
            let inside = |range: &Range<usize>, start: usize| range.start - start..range.end - start;
            let (down, across) = (inside(&down, region.rows.start), inside(&across, region.cols.start));
            let (means, sds) = all.view_mut().split_at(ndarray::Axis(0), bands.len());
            for (mut to, from) in [(means, mean), (sds, sd)] {
                let to = to.slice_mut(s![.., down.clone(), across.clone()]);
                Zip::from(to).and(&from).for_each(|to, from| {
                    if to.is_nan() {
                        *to = *from as f32;
                    }
                });
            }
        }
        Ok(all)
    }
}

impl Part {
    /// Refuses a store that is no neighbour of this one.
    fn check_fits(&self, other: &Self) -> Result<()> {
        let refuse = |problem: String| {
            let problem = format!("does not fit {}: {problem}", self.path.display());
            Err(Error::Export { path: other.path.clone(), problem, source: None })
        };
        let (series, own) = (&other.series, &self.series);
        if series.bands() != own.bands() || series.unit() != own.unit() {
            return refuse(format!(
                "its bands are {:?} in {:?}, not {:?} in {:?}",
                series.bands(),
                series.unit(),
                own.bands(),
                own.unit()
            ));
        }
        if !crate::source::gdal::same_crs(series.grid().crs(), own.grid().crs()) {
            return refuse(format!("its CRS is {}, not {}", series.grid().crs(), own.grid().crs()));
        }
        if own.grid().lattice_offset(series.grid()).is_none() {
            return refuse(format!("its cells are not those of one grid ({}, {})", series.grid(), own.grid()));
        }
        Ok(())
    }
}

/// Cuts `0..length` at the edges of blocks, of which one begins at `first`: whole chunks of `chunk` cells, together at
/// least [`BLOCK`].
fn ranges(length: usize, first: i64, chunk: usize) -> Vec<Range<usize>> {
    let step = (chunk.max(1) * BLOCK.div_ceil(chunk.max(1))) as i64;
    let mut start = 0;
    let mut ranges = Vec::new();
    while start < length as i64 {
        let end = (start + step - (start - first).rem_euclid(step)).min(length as i64);
        ranges.push(start as usize..end as usize);
        start = end;
    }
    ranges
}

/// The part of a range that lies on cells `first..first + length`.
fn overlap(range: &Range<usize>, first: i64, length: usize) -> Range<usize> {
    let start = (range.start as i64).max(first);
    let end = (range.end as i64).min(first + length as i64);
    if start < end { start as usize..end as usize } else { 0..0 }
}

fn shifted(range: &Range<usize>, by: i64) -> Range<usize> {
    (range.start as i64 + by) as usize..(range.end as i64 + by) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_where_chunks_do() {
        assert_eq!(ranges(1000, 0, 256), [0..512, 512..1000]);
        // A part that begins within a chunk, or before the first.
        assert_eq!(ranges(1000, -300, 256), [0..212, 212..724, 724..1000]);
        assert_eq!(ranges(700, 100, 600), [0..100, 100..700]);
        assert_eq!(overlap(&(0..10), 4, 3), 4..7);
        assert_eq!(overlap(&(0..10), -4, 3), 0..0);
    }
}
