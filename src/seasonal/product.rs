//! A fitted seasonal mean: coefficients and scatter of every cell.

use std::sync::Arc;

use ndarray::{Array3, Array4, Axis, concatenate, s};

use super::{Harmonics, SeasonalTile};
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::source::{MemorySource, RasterSource};

/// The seasonal mean of every cell and component of a scene: the mean function of a fusion whose state is the anomaly.
///
/// [`SeasonalBuilder`](crate::model::SeasonalBuilder) fits one. With the feature `zarr`,
/// [`SeasonalStore`](crate::sink::SeasonalStore) stores and opens it. Coefficients are float32 and are read on request.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::describe::Instrument;
/// use rasterfuse::model::SeasonalBuilder;
/// use rasterfuse::source::MemorySource;
///
/// // Three years of a greenness that peaks in summer.
/// let grid = Grid::new(Crs::unknown(), [0.0, 10.0, 0.0, 0.0, 0.0, -10.0], (1, 2))?;
/// let dates: Vec<Date> = (0..110).map(|k| Date::from_days(10_957 + 10 * k)).collect();
/// let green = |date: Date| 0.5 - 0.3 * (std::f64::consts::TAU * f64::from(date.days_since(dates[0])) / 365.2425).cos();
/// let values = Array4::from_shape_fn((110, 1, 1, 2), |(time, _, _, _)| green(dates[time]));
/// let source = MemorySource::new(grid.clone(), dates.clone(), vec!["ndvi".into()], values)?;
///
/// let bands = ["ndvi".to_owned()];
/// let instrument = Instrument::new("s2", source).noise_variance(1e-4);
/// let seasonal = SeasonalBuilder::default().fit(&grid, &bands, None, &[instrument])?;
/// let july = seasonal.mean(Date::from_ymd(2024, 7, 1)?, &grid.region())?; // (component, y, x)
/// assert!((july[(0, 0, 1)] - 0.8).abs() < 0.02);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SeasonalMean {
    pub(super) harmonics: Harmonics,
    pub(super) components: Vec<String>,
    /// A band for each coefficient and the scatter, component by component.
    pub(super) source: Arc<dyn RasterSource>,
    pub(super) fingerprint: u64,
}

impl SeasonalMean {
    /// A mean from arrays: `coefficients` of **shape** (component, term, y, x) and `scatter` of **shape** (component,
    /// y, x).
    pub(crate) fn from_arrays(
        grid: Grid,
        components: Vec<String>,
        harmonics: Harmonics,
        coefficients: Array4<f32>,
        scatter: Array3<f32>,
    ) -> Result<Self> {
        let tile = SeasonalTile { region: grid.region(), coefficients, scatter };
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(&tile);
        let layers = concatenate![Axis(1), tile.coefficients, tile.scatter.insert_axis(Axis(1))];
        let (p, n, rows, cols) = layers.dim();
        let values = Array4::from_shape_fn((1, p * n, rows, cols), |(_, layer, row, col)| {
            f64::from(layers[(layer / n, layer % n, row, col)])
        });
        let names = Self::layer_names(&components, harmonics);
        let source = MemorySource::new(grid, vec![harmonics.reference()], names, values)?;
        Ok(Self { harmonics, components, source: Arc::new(source), fingerprint: fingerprint.0 })
    }

    /// A mean whose coefficients and scatter are the bands of a source, component by component.
    #[cfg(feature = "zarr")]
    pub(crate) fn from_source(
        source: Arc<dyn RasterSource>,
        components: Vec<String>,
        harmonics: Harmonics,
        fingerprint: u64,
    ) -> Self {
        Self { harmonics, components, source, fingerprint }
    }

    /// Names of the bands of such a source.
    pub(crate) fn layer_names(components: &[String], harmonics: Harmonics) -> Vec<String> {
        let layers = |component: &String| {
            let terms = harmonics.names().chain(["scatter".to_owned()]);
            terms.map(|term| format!("{component} {term}")).collect::<Vec<_>>()
        };
        components.iter().flat_map(layers).collect()
    }

    /// What it is read from.
    pub(crate) fn source(&self) -> &dyn RasterSource {
        self.source.as_ref()
    }

    /// What decides its values, by key.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        vec![
            ("harmonics".into(), self.harmonics.count().to_string()),
            ("period_days".into(), format!("{:?}", self.harmonics.period_days())),
            ("reference".into(), self.harmonics.reference().to_string()),
            ("mean".into(), format!("{:016x}", self.fingerprint)),
        ]
    }

    /// The terms of the curves.
    #[must_use]
    pub fn harmonics(&self) -> Harmonics {
        self.harmonics
    }

    /// Names of the target bands, or of a basis's components.
    #[must_use]
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// The grid of the cells.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        self.source.grid()
    }

    /// A hash of the mean. Different means have different hashes, except by an unlikely chance.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Where it is stored, for messages.
    #[must_use]
    pub fn origin(&self) -> String {
        self.source.origin()
    }

    /// Coefficients of a region's cells in u, **shape** (component, term, y, x).
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn coefficients(&self, region: &PixelRegion) -> Result<Array4<f64>> {
        let n = self.harmonics.terms();
        let layers = (0..self.components.len()).flat_map(|j| (0..n).map(move |k| j * (n + 1) + k));
        let values = self.read(&layers.collect::<Vec<_>>(), region)?;
        let (rows, cols) = region.shape();
        let shape = (self.components.len(), n, rows, cols);
        values.into_shape_with_order(shape).map_err(|error| {
            Error::setting("seasonal.mean", format!("{}: not {shape:?} coefficients: {error}", self.origin()))
        })
    }

    /// Standard deviation of the observations about the curve in u, **shape** (component, y, x).
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn scatter(&self, region: &PixelRegion) -> Result<Array3<f64>> {
        let n = self.harmonics.terms();
        self.read(&(0..self.components.len()).map(|j| j * (n + 1) + n).collect::<Vec<_>>(), region)
    }

    /// The mean of a region's cells on a date in u, **shape** (component, y, x).
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn mean(&self, date: Date, region: &PixelRegion) -> Result<Array3<f64>> {
        let mut terms = vec![0.0; self.harmonics.terms()];
        self.harmonics.evaluate(date, &mut terms);
        let coefficients = self.coefficients(region)?;
        let (p, _, rows, cols) = coefficients.dim();
        let mut mean = Array3::zeros((p, rows, cols));
        for (k, term) in terms.iter().enumerate() {
            mean.scaled_add(*term, &coefficients.slice(s![.., k, .., ..]));
        }
        Ok(mean)
    }

    fn read(&self, layers: &[usize], region: &PixelRegion) -> Result<Array3<f64>> {
        Ok(self.source.read(self.harmonics.reference(), layers, region)?.values)
    }
}

/// A hash of all coefficients with their positions, independent of their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Fingerprint {
    pub(crate) fn add(&mut self, tile: &SeasonalTile) {
        for ((component, term, row, col), value) in tile.coefficients.indexed_iter() {
            let place = mix(((tile.region.rows.start + row) as u64) << 32 | (tile.region.cols.start + col) as u64);
            let layer = mix((component as u64) << 32 | term as u64);
            self.0 = self.0.wrapping_add(mix(place ^ layer.rotate_left(17) ^ u64::from(value.to_bits())));
        }
    }
}

/// splitmix64 by Steele, Lea and Flood: every bit of the argument affects every bit of the result.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
