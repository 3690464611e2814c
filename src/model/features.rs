//! Features of the cells around a tile, by which they change together.

use std::sync::Arc;

use ndarray::{Array2, Array3, s};

use super::raster::{check_cover, read_around};
use crate::describe::{Combine, Features, Key};
use crate::error::{Error, Result};
use crate::geometry::{Grid, Rect};
use crate::seasonal::{PHASES, SeasonalCurves, SeasonalMean};
use crate::source::RasterSource;

const KEY: &str = "process.features";

/// Cells within which a missing feature is taken from another cell.
const FILL: i64 = 16;

/// How similarity is combined with distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Combination {
    Times,
    /// With the share of similarity.
    Plus(f64),
}

impl FeatureModel {
    /// Checks features against the target grid; `mean` is the seasonal mean of the fusion.
    ///
    /// # Errors
    /// [`Error::Setting`] and [`Error::Number`] by key.
    pub(crate) fn new(described: &Features, mean: Option<&SeasonalMean>, target: &Grid) -> Result<Self> {
        let key = |name: &str| Key::from(KEY).name(name);
        let refuse = |problem: &str| Err(Error::setting(KEY, problem));
        let (source, grouped): (Arc<dyn RasterSource>, usize) = match (&described.raster, described.seasonal, mean) {
            (Some(raster), false, _) => (Arc::clone(raster.source(&key("raster"))?), 1),
            (None, true, Some(mean)) => (Arc::new(SeasonalCurves::new(mean.clone())), PHASES),
            (None, true, None) => {
                return refuse("seasonal = true, but there is no [seasonal] mean; name one, or a raster");
            }
            (Some(_), true, _) => return refuse("give either raster or seasonal = true, not both"),
            (None, false, _) => {
                return refuse("name a raster, or give seasonal = true for the curves of the [seasonal] mean");
            }
        };
        check_cover(KEY, source.as_ref(), target)?;
        let held = source.bands().len();
        if grouped > 1 && described.bands.is_some() {
            return Err(Error::setting(key("bands"), "the curves of a seasonal mean count together; leave it out"));
        }
        let bands = described.bands.clone().unwrap_or_else(|| (0..held).collect());
        check_bands(&bands, source.as_ref(), &key("bands"))?;
        let combine = match (described.combine, &described.weight) {
            (Combine::Times, None) => Combination::Times,
            (Combine::Plus, Some(weight)) => Combination::Plus(weight.share(&key("weight"))?),
            (Combine::Times, Some(_)) => {
                return Err(Error::setting(key("weight"), "it belongs to combine = \"plus\"; leave it out"));
            }
            (Combine::Plus, None) => {
                let problem = "not given; combine = \"plus\" needs the share of similarity";
                return Err(Error::setting(key("weight"), problem));
            }
        };
        let of = if grouped == 1 { "band" } else { "component" };
        let scale = described.scale.expand_positive(bands.len() / grouped, &key("scale"), of)?;
        let scale = scale.into_iter().flat_map(|scale| std::iter::repeat_n(scale, grouped)).collect();
        Ok(Self { source, bands, scale, combine })
    }
}

fn check_bands(bands: &[usize], source: &dyn RasterSource, key: &Key) -> Result<()> {
    if bands.is_empty() {
        return Err(Error::setting(key, "no band; name some, or leave it out for all"));
    }
    let held = source.bands().len();
    if let Some(band) = bands.iter().find(|&&band| band >= held) {
        let last = held.saturating_sub(1);
        return Err(Error::setting(key, format!("{band}, but {} has bands 0 to {last}", source.origin())));
    }
    match bands.iter().enumerate().find(|(k, band)| bands[..*k].contains(band)) {
        Some((_, band)) => Err(Error::setting(key, format!("{band} is given twice"))),
        None => Ok(()),
    }
}

/// Features, checked.
#[derive(Clone, Debug)]
pub(crate) struct FeatureModel {
    source: Arc<dyn RasterSource>,
    bands: Vec<usize>,
    /// Of each band.
    scale: Vec<f64>,
    combine: Combination,
}

impl FeatureModel {
    /// Where they are read from.
    pub(crate) fn source(&self) -> &dyn RasterSource {
        self.source.as_ref()
    }

    /// Bytes that a cell takes: as it is read and as it is kept.
    pub(crate) fn cell_bytes(&self) -> u64 {
        (2 * self.bands.len() * size_of::<f64>()) as u64
    }

    /// The features of the cells of `rect`, in the units of the raster.
    ///
    /// # Errors
    /// Those of reading the raster.
    pub(crate) fn read(&self, target: &Grid, rect: &Rect) -> Result<FeatureValues> {
        let around = Rect::new(rect.top - FILL..rect.bottom + FILL, rect.left - FILL..rect.right + FILL);
        let (mut values, first) = read_around(KEY, self.source.as_ref(), &self.bands, target, &around)?;
        fill(&mut values);
        Ok(FeatureValues { values, first })
    }

    /// Features over their scales.
    pub(crate) fn scale(&self, FeatureValues { values, first }: &FeatureValues) -> Similarity {
        let (bands, rows, cols) = values.dim();
        let mut features = Vec::with_capacity(bands * rows * cols);
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let scaled = self.scale.iter().enumerate().map(|(band, scale)| values[(band, row, col)] / scale);
            // Differences of infinities would be none.
            features.extend(scaled.map(|value| if value.is_finite() { value } else { f64::NAN }));
        }
        Similarity { features, bands, first: *first, shape: (rows as i64, cols as i64), combine: self.combine }
    }

    /// Whether scales and combination are those of other features of the same raster.
    pub(crate) fn has_scale_of(&self, other: &Self) -> bool {
        self.scale == other.scale && self.combine == other.combine
    }
}

/// Features around a tile in the units of the raster.
#[derive(Clone, Debug)]
pub(crate) struct FeatureValues {
    /// **Shape** (band, y, x).
    values: Array3<f64>,
    /// The first cell on the target lattice.
    first: (i64, i64),
}

/// Gives cells of which a band is missing the features of the nearest cell that is whole, within [`FILL`] cells.
fn fill(features: &mut Array3<f64>) {
    let (_, rows, cols) = features.dim();
    let whole = |row: usize, col: usize| features.slice(s![.., row, col]).iter().all(|value| value.is_finite());
    let known = Array2::from_shape_fn((rows, cols), |(row, col)| whole(row, col));
    // The order of ties does not depend on what else was read.
    let mut steps: Vec<(i64, i64)> = Rect::new(-FILL..FILL + 1, -FILL..FILL + 1).cells().collect();
    steps.retain(|(row, col)| row * row + col * col <= FILL * FILL);
    steps.sort_by_key(|&(row, col)| (row * row + col * col, row, col));
    for ((row, col), _) in known.indexed_iter().filter(|(_, known)| !**known) {
        let at = |step: &(i64, i64)| (row.checked_add_signed(step.0 as isize), col.checked_add_signed(step.1 as isize));
        let nearest = steps.iter().find_map(|step| match at(step) {
            (Some(row), Some(col)) => known.get((row, col)).is_some_and(|known| *known).then_some((row, col)),
            _ => None,
        });
        if let Some((from_row, from_col)) = nearest {
            let found = features.slice(s![.., from_row, from_col]).to_owned();
            features.slice_mut(s![.., row, col]).assign(&found);
        }
    }
}

/// Scaled features of the cells around a tile, from which the similarity of two cells follows.
#[derive(Clone, Debug)]
pub(crate) struct Similarity {
    /// Over their scales, cell by cell.
    features: Vec<f64>,
    bands: usize,
    /// The first cell on the target lattice.
    first: (i64, i64),
    /// (rows, columns).
    shape: (i64, i64),
    pub(crate) combine: Combination,
}

impl Similarity {
    /// Features of a cell, or of the nearest that is known.
    pub(crate) fn at(&self, (row, col): (i64, i64)) -> &[f64] {
        let nearest = |at: i64, first: i64, cells: i64| (at - first).clamp(0, cells - 1);
        let (row, col) = (nearest(row, self.first.0, self.shape.0), nearest(col, self.first.1, self.shape.1));
        let first = (row * self.shape.1 + col) as usize * self.bands;
        &self.features[first..first + self.bands]
    }

    /// Distance of the features of two different cells; infinite where one is not known.
    pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
        let squared: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
        if squared.is_nan() { f64::INFINITY } else { squared.sqrt() }
    }
}
