use std::sync::Arc;

use ndarray::{Array2, Array3, s};

use super::raster::{check_cover, read_around};
use super::seasonal::{PHASES, SeasonalCurves};
use super::{SeasonalMean, Values};
use crate::error::{Error, Result};
use crate::geometry::{Grid, Rect};
use crate::source::RasterSource;

const KEY: &str = "process.features";

/// Cells within which a missing feature is taken from another cell.
const FILL: i64 = 16;

/// Features of the cells, such as the bands of a clear reference image: cells with like features change alike.
///
/// The correlation of change `k(|s - s'|)` becomes `k(|s - s'|) k_x(s, s')` ([times](Self::times), the default) or
/// `(1 - w) k(|s - s'|) + w k_x(s, s')` ([plus](Self::plus)), `k_x(s, s') = exp(-d)` with `d` the Euclidean distance of the
/// features of the two cells, each divided by its scale. Nuggets stay as they are.
///
/// The raster lies on the target's lattice and covers the target grid; its first date is read. Beyond it the nearest cell counts.
/// A cell of which a feature is missing (NaN) has those of the nearest cell that is whole, up to 16 cells away; farther from all of
/// them it is like no other: `k_x = 0`.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::model::{Features, Kernel, Process};
/// use rasterfuse::source::MemorySource;
///
/// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// let bands = vec!["red".into(), "nir".into()];
/// let reference = MemorySource::new(grid, vec![Date::from_days(0)], bands, Array4::from_elem((1, 2, 8, 8), 0.3))?;
/// // differences of 0.05 in red, or 0.1 in near infrared, bring the correlation down to 1/e
/// let process = Process::new(Kernel::Exponential, 600.0, 1e-4).features(Features::new(reference, [0.05, 0.1]));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Features {
    source: Arc<dyn RasterSource>,
    bands: Option<Vec<usize>>,
    /// One for all, or one for each group of `grouped` bands.
    scale: Values,
    grouped: usize,
    combine: Combine,
}

/// How likeness meets distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Combine {
    Times,
    /// With the share of likeness.
    Plus(f64),
}

impl Features {
    /// From the first date of `source`, `scale` (one for all bands or one for each that is used) in the features' units.
    #[must_use]
    pub fn new(source: impl RasterSource + 'static, scale: impl Into<Values>) -> Self {
        Self { source: Arc::new(source), bands: None, scale: scale.into(), grouped: 1, combine: Combine::Times }
    }

    /// The year of each cell by its seasonal mean: cells with like curves change alike. `scale`, one for all components or one for
    /// each, is the root mean square difference of two curves, in u, that brings the correlation down to 1/e.
    #[must_use]
    pub fn of_seasonal(mean: &SeasonalMean, scale: impl Into<Values>) -> Self {
        Self { grouped: PHASES, ..Self::new(SeasonalCurves::new(mean.clone()), scale) }
    }

    /// Uses some of the raster's bands, as positions from 0. Default: all. Not for the curves of a
    /// [seasonal mean](Self::of_seasonal).
    #[must_use]
    pub fn bands(mut self, bands: impl IntoIterator<Item = usize>) -> Self {
        self.bands = Some(bands.into_iter().collect());
        self
    }

    /// Near *and* alike cells change alike.
    #[must_use]
    pub fn times(mut self) -> Self {
        self.combine = Combine::Times;
        self
    }

    /// Near *or* alike cells change alike, likeness having a share of `weight` in [0, 1].
    #[must_use]
    pub fn plus(mut self, weight: f64) -> Self {
        self.combine = Combine::Plus(weight);
        self
    }

    /// What decides it, by key.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let own = self.source.settings().into_iter().map(|(name, value)| (format!("raster: {name}"), value));
        let bands = self.bands.as_ref().map_or_else(|| "all".into(), |bands| format!("{bands:?}"));
        let settings = [
            ("raster".to_owned(), "a raster".to_owned()),
            ("bands".into(), bands),
            ("scale".into(), self.scale.to_string()),
            ("combine".into(), format!("{:?}", self.combine)),
        ];
        settings.into_iter().chain(own).collect()
    }

    /// Checks it against the target grid.
    pub(crate) fn resolve(&self, target: &Grid) -> Result<FeatureModel> {
        check_cover(KEY, self.source.as_ref(), target)?;
        let held = self.source.bands().len();
        let bands = self.bands.clone().unwrap_or_else(|| (0..held).collect());
        let key = |name: &str| format!("{KEY}.{name}");
        if self.grouped > 1 && self.bands.is_some() {
            return Err(Error::setting(key("bands"), "the curves of a seasonal mean count as a whole; leave it out"));
        }
        if bands.is_empty() {
            return Err(Error::setting(key("bands"), "no band; name some, or leave it out for all"));
        }
        if let Some(band) = bands.iter().find(|&&band| band >= held) {
            let last = held.saturating_sub(1);
            return Err(Error::setting(
                key("bands"),
                format!("{band}, but {} has bands 0 to {last}", self.source.origin()),
            ));
        }
        if let Some((_, band)) = bands.iter().enumerate().find(|(k, band)| bands[..*k].contains(band)) {
            return Err(Error::setting(key("bands"), format!("{band} is given twice")));
        }
        if let Combine::Plus(weight) = self.combine
            && !(0.0..=1.0).contains(&weight)
        {
            return Err(Error::setting(key("weight"), format!("{weight} must lie in [0, 1]")));
        }
        let of = if self.grouped == 1 { "band" } else { "component" };
        let scale = self.scale.expand_positive(bands.len() / self.grouped, &key("scale"), of)?;
        let scale = scale.into_iter().flat_map(|scale| std::iter::repeat_n(scale, self.grouped)).collect();
        Ok(FeatureModel { source: Arc::clone(&self.source), bands, scale, combine: self.combine })
    }
}

/// The same raster, read alike: the very same source, or seasonal means of the same curves.
impl PartialEq for Features {
    fn eq(&self, other: &Self) -> bool {
        let rest = |of: &Self| (of.bands.clone(), of.scale.clone(), of.grouped, of.combine);
        // The settings of a seasonal mean hold the fingerprint of its curves; those of other rasters do not tell their values.
        let seasonal = self.grouped > 1 && self.source.settings() == other.source.settings();
        rest(self) == rest(other) && (seasonal || Arc::ptr_eq(&self.source, &other.source))
    }
}

/// Features, checked.
#[derive(Clone, Debug)]
pub(crate) struct FeatureModel {
    source: Arc<dyn RasterSource>,
    bands: Vec<usize>,
    /// Of each band.
    scale: Vec<f64>,
    combine: Combine,
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

    /// The likeness of the cells of `rect`.
    pub(crate) fn read(&self, target: &Grid, rect: &Rect) -> Result<Likeness> {
        let around = Rect::new(rect.top - FILL..rect.bottom + FILL, rect.left - FILL..rect.right + FILL);
        let (mut values, first) = read_around(KEY, self.source.as_ref(), &self.bands, target, &around)?;
        fill(&mut values);
        let (bands, rows, cols) = values.dim();
        let mut features = Vec::with_capacity(bands * rows * cols);
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let scaled = self.scale.iter().enumerate().map(|(band, scale)| values[(band, row, col)] / scale);
            // Differences of infinities would be none.
            features.extend(scaled.map(|value| if value.is_finite() { value } else { f64::NAN }));
        }
        Ok(Likeness { features, bands, first, shape: (rows as i64, cols as i64), combine: self.combine })
    }
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

/// How alike the cells around a tile are.
#[derive(Clone, Debug)]
pub(crate) struct Likeness {
    /// Over their scales, cell by cell.
    features: Vec<f64>,
    bands: usize,
    /// The first cell on the target lattice.
    first: (i64, i64),
    /// (rows, columns).
    shape: (i64, i64),
    pub(crate) combine: Combine,
}

impl Likeness {
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
