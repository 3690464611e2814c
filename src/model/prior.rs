//! The prior: checked, and read for the cells around a tile.

use std::sync::Arc;

use ndarray::Array3;

use super::Average;
use super::raster::{check_cover, read_around};
use crate::describe::{Prior, PriorCorrelation, PriorField};
use crate::error::{Error, Key, Result};
use crate::geometry::{Grid, Rect};
use crate::source::RasterSource;
use crate::spectral::pair;

const MEAN: &str = "prior.mean";
const VARIANCE: &str = "prior.variance";

/// A prior, checked.
#[derive(Clone, Debug)]
pub(crate) struct PriorModel {
    mean: PriorLayer,
    variance: PriorLayer,
    correlated: bool,
}

/// The same everywhere, one number for each component, or from a raster.
#[derive(Clone, Debug)]
enum PriorLayer {
    Constant(Vec<f64>),
    Raster(Arc<dyn RasterSource>),
}

impl PriorModel {
    /// Refuses variances that are not positive and rasters that do not fit.
    ///
    /// # Errors
    /// [`Error::Number`] and [`Error::Setting`] by key.
    pub(crate) fn new(prior: &Prior, target: &Grid, p: usize) -> Result<Self> {
        let layer = |key: &str, field: &PriorField| {
            let key = &Key::from(key);
            Ok(match field {
                PriorField::Constant(numbers) if *key == VARIANCE => {
                    PriorLayer::Constant(numbers.expand_positive(p, key, "component")?)
                }
                PriorField::Constant(numbers) => PriorLayer::Constant(numbers.expand_where(
                    (p, "component"),
                    key,
                    f64::is_finite,
                    "must be finite",
                )?),
                PriorField::Raster(raster) => {
                    let source = raster.source(key)?;
                    check_raster(key, source.as_ref(), target, p)?;
                    PriorLayer::Raster(Arc::clone(source))
                }
            })
        };
        let (mean, variance) = (layer(MEAN, &prior.mean)?, layer(VARIANCE, &prior.variance)?);
        Ok(Self { mean, variance, correlated: prior.correlation == PriorCorrelation::Process })
    }

    /// The mean of component `j` where it is the same everywhere.
    pub(crate) fn constant_mean(&self, j: usize) -> Option<f64> {
        self.mean.constant(j)
    }

    /// The variance of component `j` where it is the same everywhere.
    pub(crate) fn constant_variance(&self, j: usize) -> Option<f64> {
        self.variance.constant(j)
    }

    /// The rasters it is read from.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &dyn RasterSource> {
        [&self.mean, &self.variance].into_iter().filter_map(|layer| match layer {
            PriorLayer::Constant(_) => None,
            PriorLayer::Raster(source) => Some(source.as_ref()),
        })
    }

    /// The prior over the cells of `rect`, which may reach beyond the grid; there the nearest cell's value counts.
    pub(crate) fn read(&self, target: &Grid, rect: &Rect) -> Result<PriorSlice> {
        Ok(PriorSlice {
            mean: self.mean.read(MEAN, target, rect)?,
            cov: CovSlice::Diagonal(self.variance.read(VARIANCE, target, rect)?),
            correlated: self.correlated,
            of_all_fields: false,
        })
    }
}

impl PriorModel {
    /// The prior over the cells of a slice that was read with the same rasters.
    pub(crate) fn over(&self, known: &PriorSlice) -> PriorSlice {
        let layer = |layer: &PriorLayer, known: &FieldSlice| match layer {
            PriorLayer::Constant(values) => FieldSlice::Constant(values.clone()),
            PriorLayer::Raster(_) => known.clone(),
        };
        let (CovSlice::Diagonal(variance) | CovSlice::Full(variance)) = &known.cov;
        PriorSlice {
            mean: layer(&self.mean, &known.mean),
            cov: CovSlice::Diagonal(layer(&self.variance, variance)),
            correlated: self.correlated,
            of_all_fields: false,
        }
    }
}

fn check_raster(key: &Key, source: &dyn RasterSource, target: &Grid, p: usize) -> Result<()> {
    let bands = source.bands().len();
    if bands != p && bands != 1 {
        let problem = format!("{bands} bands; give one, or one for each of the {p} components");
        return Err(Error::setting(key, format!("{}: {problem}", source.origin())));
    }
    check_cover(&key.to_string(), source, target)
}

impl PriorLayer {
    /// The number of component `j` where it is the same everywhere.
    fn constant(&self, j: usize) -> Option<f64> {
        match self {
            Self::Constant(values) => values.get(j).copied(),
            Self::Raster(_) => None,
        }
    }

    fn read(&self, key: &str, target: &Grid, rect: &Rect) -> Result<FieldSlice> {
        let source = match self {
            Self::Constant(values) => return Ok(FieldSlice::Constant(values.clone())),
            Self::Raster(source) => source,
        };
        let bands: Vec<usize> = (0..source.bands().len()).collect();
        let (values, first) = read_around(key, source.as_ref(), &bands, target, rect)?;
        if key == VARIANCE
            && let Some(value) = values.iter().find(|value| **value <= 0.0)
        {
            let problem = format!("{}: {value} must be positive, or NaN where nothing is known", source.origin());
            return Err(Error::setting(key, problem));
        }
        Ok(FieldSlice::Raster { values, first, origin: source.origin() })
    }
}

/// Prior of the cells around one tile.
#[derive(Clone, Debug)]
pub(crate) struct PriorSlice {
    mean: FieldSlice,
    cov: CovSlice,
    correlated: bool,
    of_all_fields: bool,
}

#[derive(Clone, Debug)]
enum CovSlice {
    /// Components are independent: variances.
    Diagonal(FieldSlice),
    /// Pairs of components, the lower triangle row by row.
    Full(FieldSlice),
}

#[derive(Clone, Debug)]
enum FieldSlice {
    Constant(Vec<f64>),
    /// Values (band, y, x) whose first cell is `first` on the target lattice.
    Raster {
        values: Array3<f64>,
        first: (i64, i64),
        origin: String,
    },
}

impl FieldSlice {
    fn at(&self, component: usize, row: i64, col: i64) -> f64 {
        match self {
            Self::Constant(values) => values[component],
            Self::Raster { values, first, .. } => {
                let (bands, rows, cols) = values.dim();
                let y = (row - first.0).clamp(0, rows as i64 - 1) as usize;
                let x = (col - first.1).clamp(0, cols as i64 - 1) as usize;
                values[(component.min(bands - 1), y, x)]
            }
        }
    }

    /// Sum over the cells of a rectangle, each times its weights in some averages.
    fn sum(&self, component: usize, rect: &Rect, weights: &[&Average]) -> f64 {
        let plain = weights.iter().all(|average| average.is_plain());
        match self {
            Self::Constant(values) if plain => values[component] * rect.count() as f64,
            _ => {
                let weight = |row, col| weights.iter().map(|average| average.weight(row, col)).product::<f64>();
                rect.cells().map(|(row, col)| weight(row, col) * self.at(component, row, col)).sum()
            }
        }
    }
}

impl PriorSlice {
    /// What is known of the sum of all fields in the cells from `first` on the target lattice: means of **shape**
    /// (component, y, x) and covariances of **shape** (pair, y, x), the lower triangle row by row.
    pub(crate) fn of_cells(mean: Array3<f64>, cov: Array3<f64>, first: (i64, i64)) -> Self {
        let field = |values| FieldSlice::Raster { values, first, origin: "the light checkpoint".into() };
        Self { mean: field(mean), cov: CovSlice::Full(field(cov)), correlated: false, of_all_fields: true }
    }

    /// The rasters, for messages.
    fn origins(&self) -> String {
        let (CovSlice::Diagonal(variance) | CovSlice::Full(variance)) = &self.cov;
        let origin = |(key, field): (&str, &FieldSlice)| match field {
            FieldSlice::Constant(_) => None,
            FieldSlice::Raster { origin, .. } => Some(format!("{key} ({origin})")),
        };
        let fields = [(MEAN, &self.mean), (VARIANCE, variance)];
        fields.into_iter().filter_map(origin).collect::<Vec<_>>().join(" or ")
    }

    /// The error of an instrument that observes a cell for which the prior has no value.
    pub(crate) fn without_value(&self, (row, col): (i64, i64), instrument: &str) -> Error {
        let problem = format!(
            "no value at or near cell [{row}, {col}], which instrument {instrument:?} observes; fill the raster or give a number"
        );
        Error::setting(self.origins(), problem)
    }

    /// Mean of a cell; NaN where the prior says nothing.
    pub(crate) fn mean(&self, component: usize, row: i64, col: i64) -> f64 {
        self.mean.at(component, row, col)
    }

    /// Mean of an average.
    pub(crate) fn mean_of(&self, component: usize, average: &Average) -> f64 {
        let sums = average.rects().iter().map(|rect| self.mean.sum(component, rect, &[average]));
        sums.sum::<f64>() / average.total()
    }

    /// Whether cells are correlated as the process correlates them.
    pub(crate) fn is_correlated(&self) -> bool {
        self.correlated
    }

    /// Standard deviation of a cell where cells are correlated; NaN where the prior says nothing.
    pub(crate) fn sd(&self, component: usize, row: i64, col: i64) -> f64 {
        self.cov(component, component, row, col).sqrt()
    }

    /// Mean standard deviation of the cells of an average.
    pub(crate) fn mean_sd(&self, component: usize, average: &Average) -> f64 {
        let CovSlice::Diagonal(FieldSlice::Constant(variance)) = &self.cov else {
            let weighted = |(row, col): (i64, i64)| average.weight(row, col) * self.sd(component, row, col);
            return average.rects().iter().flat_map(Rect::cells).map(weighted).sum::<f64>() / average.total();
        };
        variance[component].sqrt()
    }

    /// Whether components of a cell may be correlated.
    pub(crate) fn couples(&self) -> bool {
        matches!(self.cov, CovSlice::Full(_))
    }

    /// Whether it is of the sum of all fields, as a light checkpoint is, rather than of the first.
    pub(crate) fn is_of_all_fields(&self) -> bool {
        self.of_all_fields
    }

    /// Covariance of two components of a cell; NaN where the prior says nothing.
    pub(crate) fn cov(&self, j: usize, l: usize, row: i64, col: i64) -> f64 {
        match &self.cov {
            CovSlice::Diagonal(variance) if j == l => variance.at(j, row, col),
            CovSlice::Diagonal(_) => 0.0,
            CovSlice::Full(pairs) => pairs.at(pair(j, l), row, col),
        }
    }

    /// Covariance of two components of two averages: cells being independent, that of the cells that they share.
    pub(crate) fn cov_of(&self, (j, l): (usize, usize), a: &Average, b: &Average) -> f64 {
        let (field, layer) = match &self.cov {
            CovSlice::Diagonal(_) if j != l => return 0.0,
            CovSlice::Diagonal(variance) => (variance, j),
            CovSlice::Full(pairs) => (pairs, pair(j, l)),
        };
        let shared = a.rects().iter().flat_map(|x| b.rects().iter().map(move |y| x.intersection(y)));
        let sums = shared.filter(|rect| !rect.is_empty()).map(|rect| field.sum(layer, &rect, &[a, b]));
        sums.sum::<f64>() / (a.total() * b.total())
    }
}
