//! The truth: a patchwork of fields that changes from day to day, and the clouds above it.

use std::f64::consts::TAU;

use ndarray::{Array2, Array3, Array4, ArrayView4, Axis, s};
use rand::Rng;
use rand::rngs::StdRng;
use rasterfuse::geometry::{Date, Grid};
use rasterfuse::source::gdal::crs_from_definition;

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
/// Waves per random field; by the central limit theorem their sum is Gaussian enough.
const WAVES: usize = 500;
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
        let reflectance = walk(&lattice, patchwork(&lattice, rng), rng);
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
fn patchwork(lattice: &Grid, rng: &mut StdRng) -> Array3<f64> {
    let (rows, cols) = lattice.shape();
    // Every cell belongs to the nearest of random points, in a metric that stretches and turns the fields.
    let fields: Vec<_> = (0..FIELDS)
        .map(|_| (rng.random::<f64>() * rows as f64, rng.random::<f64>() * cols as f64, rng.random::<f64>()))
        .collect();
    let greenness = Array2::from_shape_fn((rows, cols), |(row, col)| {
        let distance = |field: &(f64, f64, f64)| {
            let (dy, dx) = (row as f64 - field.0, col as f64 - field.1);
            (0.9 * dx + 0.4 * dy).powi(2) + (0.8 * dy - 0.2 * dx).powi(2) * 3.0
        };
        fields.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map_or(0.5, |field| field.2)
    });
    let soil = random_field(lattice, || smooth(900.0, rng));
    let mut bands = Array3::zeros((BANDS.len(), rows, cols));
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
            band.scaled_add(variance.sqrt(), &random_field(lattice, || rough(CHANGE_RANGE, rng)));
        }
        stored.assign(&today);
    }
    series
}

/// Clouds come as blobs, from none at all to the whole sky.
fn weather(lattice: &Grid, rng: &mut StdRng) -> Array3<bool> {
    let (rows, cols) = lattice.shape();
    let mut clouds = Array3::from_elem((DAYS, rows, cols), false);
    for (day, mut sky) in clouds.axis_iter_mut(Axis(0)).enumerate() {
        // A series had better begin with an image that is mostly clear.
        let cover = if day == 0 { 0.1 } else { (1.5 * rng.random::<f64>() - 0.25).clamp(0.0, 1.0) };
        let field = random_field(lattice, || smooth(350.0, rng));
        let mut sorted: Vec<f64> = field.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let hidden = (cover * sorted.len() as f64) as usize;
        let threshold = sorted.get(hidden).copied().unwrap_or(f64::INFINITY);
        sky.zip_mut_with(&field, |cloud, value| *cloud = *value < threshold);
    }
    clouds
}

/// A wave: its vector in radians per metre, and its phase.
type Wave = (f64, f64, f64);

/// A Gaussian random field of unit variance: the sum of plane waves drawn from its spectrum.
///
/// `cos(a + b) = cos a cos b - sin a sin b` makes the sum over all waves and cells one product of two matrices.
fn random_field(lattice: &Grid, mut draw: impl FnMut() -> Wave) -> Array2<f64> {
    let (y, x, corner) = (lattice.y_centres(), lattice.x_centres(), lattice.extent());
    let mut down = Array2::zeros((y.len(), 2 * WAVES));
    let mut across = Array2::zeros((2 * WAVES, x.len()));
    for k in 0..WAVES {
        let (wave_x, wave_y, phase) = draw();
        for (row, y) in y.iter().enumerate() {
            let (sin, cos) = (wave_y * (y - corner.top) + phase).sin_cos();
            (down[(row, 2 * k)], down[(row, 2 * k + 1)]) = (cos, -sin);
        }
        for (col, x) in x.iter().enumerate() {
            let (sin, cos) = (wave_x * (x - corner.left)).sin_cos();
            (across[(2 * k, col)], across[(2 * k + 1, col)]) = (cos, sin);
        }
    }
    down.dot(&across) * (2.0 / WAVES as f64).sqrt()
}

/// A wave of a field with exponential correlation, by inversion of its spectrum `(1 + ω² ℓ²)^(-3/2)` in the plane.
fn rough(range: f64, rng: &mut StdRng) -> Wave {
    let tail = 1.0 - rng.random::<f64>();
    turned((tail.powi(-2) - 1.0).sqrt() / range, rng)
}

/// A wave of a field with Gaussian correlation, whose spectrum is Gaussian too.
fn smooth(range: f64, rng: &mut StdRng) -> Wave {
    let tail = 1.0 - rng.random::<f64>();
    turned((-2.0 * tail.ln()).sqrt() / range, rng)
}

/// A wave of the given wavenumber in a random direction.
fn turned(wavenumber: f64, rng: &mut StdRng) -> Wave {
    let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
    (wavenumber * cos, wavenumber * sin, TAU * rng.random::<f64>())
}
