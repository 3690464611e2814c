//! The truth: a patchwork of fields that changes from day to day, and the clouds above it.

use ndarray::{Array3, Array4, ArrayView4, Axis, s};
use rand::RngExt;
use rand::rngs::StdRng;
use rasterfuse::geometry::{Date, Grid};
use rasterfuse::source::gdal::crs_from_definition;

use crate::common::random::{clouds, patchwork, rough_field, smooth_field};

/// Bands of the scene and of both sensors.
pub(crate) const BANDS: [&str; 2] = ["red", "nir"];
/// Exponential range of the daily change, in metres.
pub(crate) const CHANGE_RANGE: f64 = 400.0;
/// Variance of the daily change of each band, in reflectance² per day.
pub(crate) const CHANGE_VARIANCE: [f64; 2] = [1.6e-5, 1e-4];

const FIRST_DAY: (i32, u32, u32) = (2024, 5, 1);
const DAYS: usize = 40;
/// Cells per side of the target grid, and of the margin that coarse pixels at its edge look into.
const CELLS: usize = 96;
const MARGIN: usize = 16;
const CELL_SIZE: f64 = 30.0;
const CORNER: (f64, f64) = (500_000.0, 5_120_000.0);
/// Fields on the lattice.
const FIELDS: usize = 130;

/// What there is to see, on a lattice that reaches beyond the target grid on all sides.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Cells the fusion is asked for.
    pub(crate) target: Grid,
    /// The target's lattice with a margin.
    pub(crate) lattice: Grid,
    pub(crate) dates: Vec<Date>,
    /// Reflectance on the lattice. **Shape** (time, band, y, x).
    pub(crate) reflectance: Array4<f64>,
    /// Whether a cloud hides a cell of the lattice. **Shape** (time, y, x).
    pub(crate) clouds: Array3<bool>,
}

impl Scene {
    /// A scene that depends on the state of `rng` alone.
    pub(crate) fn generate(rng: &mut StdRng) -> rasterfuse::Result<Self> {
        let target = grid(0)?;
        let lattice = grid(MARGIN)?;
        let first = Date::from_ymd(FIRST_DAY.0, FIRST_DAY.1, FIRST_DAY.2)?;
        let dates = (0..DAYS as i32).map(|day| first + day).collect();
        let reflectance = walk(&lattice, first_day(&lattice, rng), rng);
        let clouds = weather(&lattice, rng);
        Ok(Self { target, lattice, dates, reflectance, clouds })
    }

    /// The truth on the target grid. **Shape** (time, band, y, x).
    pub(crate) fn truth(&self) -> ArrayView4<'_, f64> {
        let inside = MARGIN..MARGIN + CELLS;
        self.reflectance.slice(s![.., .., inside.clone(), inside])
    }
}

/// The target grid, with so many more cells on every side.
fn grid(margin: usize) -> rasterfuse::Result<Grid> {
    let step = margin as f64 * CELL_SIZE;
    let geotransform = [CORNER.0 - step, CELL_SIZE, 0.0, CORNER.1 + step, 0.0, -CELL_SIZE];
    let cells = CELLS + 2 * margin;
    Grid::new(crs_from_definition("EPSG:32633")?, geotransform, (cells, cells))
}

/// The first day: fields of different greenness over soils that vary smoothly. **Shape** (band, y, x).
fn first_day(lattice: &Grid, rng: &mut StdRng) -> Array3<f64> {
    let greenness = patchwork(lattice, FIELDS, rng);
    let soil = smooth_field(lattice, 900.0, rng);
    let mut bands = Array3::zeros((BANDS.len(), lattice.rows(), lattice.cols()));
    bands.index_axis_mut(Axis(0), 0).assign(&(0.16 - 0.10 * &greenness + 0.010 * &soil));
    bands.index_axis_mut(Axis(0), 1).assign(&(0.20 + 0.22 * &greenness + 0.015 * &soil));
    bands
}

/// All days: each band takes a spatially correlated random step every day, which is the process that is fused with.
fn walk(lattice: &Grid, first: Array3<f64>, rng: &mut StdRng) -> Array4<f64> {
    let (bands, rows, cols) = first.dim();
    let mut series = Array4::zeros((DAYS, bands, rows, cols));
    let mut today = first;
    for (day, mut stored) in series.axis_iter_mut(Axis(0)).enumerate() {
        for (mut band, variance) in today.axis_iter_mut(Axis(0)).zip(CHANGE_VARIANCE).filter(|_| day > 0) {
            band.scaled_add(variance.sqrt(), &rough_field(lattice, CHANGE_RANGE, rng));
        }
        stored.assign(&today);
    }
    series
}

/// Clouds come as blobs, from none at all to the whole sky.
fn weather(lattice: &Grid, rng: &mut StdRng) -> Array3<bool> {
    let (rows, cols) = lattice.shape();
    let mut hidden = Array3::from_elem((DAYS, rows, cols), false);
    for (day, mut sky) in hidden.axis_iter_mut(Axis(0)).enumerate() {
        // A series had better begin with an image that is mostly clear.
        let cover = if day == 0 { 0.1 } else { (1.5 * rng.random::<f64>() - 0.25).clamp(0.0, 1.0) };
        sky.assign(&clouds(lattice, 350.0, cover, rng));
    }
    hidden
}
