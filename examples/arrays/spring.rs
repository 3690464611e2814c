//! The truth: fields that turn green one after the other; and what two instruments see of it, as arrays.

use ndarray::{Array2, Array3, Array4, Axis, s};
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::StandardNormal;
use rasterfuse::Result;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::source::MemorySource;

use crate::common::random::{clouds, patchwork, smooth_field};

pub(crate) const BANDS: [&str; 2] = ["red", "nir"];
/// The NDVI above which a cell is called green.
pub(crate) const THRESHOLD: f64 = 0.5;

const DAYS: usize = 60;
const CELLS: usize = 64;
const CELL_SIZE: f64 = 30.0;
/// Cells per side of a coarse pixel, and days between two fine images.
const COARSE: usize = 8;
const FINE_PERIOD: usize = 5;
/// Noise variance of each band, in reflectance².
pub(crate) const FINE_NOISE: [f64; 2] = [9e-6, 2.5e-5];
pub(crate) const COARSE_NOISE: [f64; 2] = [9e-6, 2.5e-5];
/// Red and nir of bare ground, and what full green adds.
const BARE: [f64; 2] = [0.13, 0.20];
const GREEN: [f64; 2] = [-0.09, 0.25];
/// Days that a field takes to turn green.
const DURATION: f64 = 4.0;
/// Variance per day of the change of each band: a random walk that would take a year and more to go as far as green does in weeks. That
/// is what the steps from day to day are; with far more the normalised innovations of the report would be far below 1.
pub(crate) const DAILY_CHANGE: [f64; 2] = [GREEN[0] * GREEN[0] / 480.0, GREEN[1] * GREEN[1] / 480.0];

/// What there is to see.
#[derive(Debug)]
pub(crate) struct Spring {
    pub(crate) target: Grid,
    pub(crate) dates: Vec<Date>,
    /// Reflectance. **Shape** (time, band, y, x).
    pub(crate) truth: Array4<f64>,
    /// Whether a cloud hides a cell. **Shape** (time, y, x).
    clouds: Array3<bool>,
}

/// What an instrument has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) dates: Vec<Date>,
    grid: Grid,
    /// Reflectance, NaN under clouds. **Shape** (time, band, y, x).
    pub(crate) values: Array4<f64>,
}

impl Spring {
    /// A spring that depends on the state of `rng` alone.
    pub(crate) fn generate(rng: &mut StdRng) -> Result<Self> {
        let target = grid(1)?;
        let first = Date::from_ymd(2024, 4, 1)?;
        // Fields have their day, and within a field it depends on the ground.
        let mut day = 15.0 + 30.0 * patchwork(&target, 45, rng);
        day.scaled_add(1.5, &smooth_field(&target, 150.0, rng));
        let soil = smooth_field(&target, 400.0, rng);
        let vigour = 0.85 + 0.15 * patchwork(&target, 45, rng);
        let truth = Array4::from_shape_fn((DAYS, BANDS.len(), CELLS, CELLS), |(time, band, row, col)| {
            let cell = (row, col);
            let green = vigour[cell] / (1.0 + (-(time as f64 - day[cell]) / DURATION).exp());
            BARE[band] + 0.008 * soil[cell] + GREEN[band] * green
        });
        let mut hidden = Array3::from_elem((DAYS, CELLS, CELLS), false);
        for (day, mut sky) in hidden.axis_iter_mut(Axis(0)).enumerate() {
            let cover = if day == 0 { 0.0 } else { (1.5 * rng.random::<f64>() - 0.25).clamp(0.0, 1.0) };
            sky.assign(&clouds(&target, 400.0, cover, rng));
        }
        Ok(Self { target, dates: (0..DAYS as i32).map(|day| first + day).collect(), truth, clouds: hidden })
    }

    /// Cell by cell, on few days.
    pub(crate) fn fine(&self, rng: &mut StdRng) -> Seen {
        self.look(1, self.target.clone(), (0..DAYS).step_by(FINE_PERIOD).collect(), FINE_NOISE, rng)
    }

    /// In large pixels, every day.
    pub(crate) fn coarse(&self, rng: &mut StdRng) -> Result<Seen> {
        Ok(self.look(COARSE, grid(COARSE)?, (0..DAYS).collect(), COARSE_NOISE, rng))
    }

    /// Each pixel averages its cells and adds noise; it is lost when a cloud hides any of them.
    fn look(&self, side: usize, grid: Grid, days: Vec<usize>, noise: [f64; 2], rng: &mut StdRng) -> Seen {
        let shape = (days.len(), BANDS.len(), grid.rows(), grid.cols());
        let values = Array4::from_shape_fn(shape, |(time, band, row, col)| {
            let under = |at: usize| at * side..(at + 1) * side;
            let error: f64 = rng.sample(StandardNormal);
            let cells = self.truth.slice(s![days[time], band, under(row), under(col)]);
            let hidden = self.clouds.slice(s![days[time], under(row), under(col)]);
            if hidden.iter().any(|cloud| *cloud) {
                f64::NAN
            } else {
                cells.mean().unwrap_or(f64::NAN) + noise[band].sqrt() * error
            }
        });
        Seen { dates: days.into_iter().map(|day| self.dates[day]).collect(), grid, values }
    }

    /// The day on which each cell turned green.
    pub(crate) fn green_day(&self) -> Array2<f64> {
        first_day(&self.dates, self.dates[0], |time, (row, col)| {
            ndvi([0, 1].map(|band| self.truth[[time, band, row, col]]))
        })
    }

    /// Off the edge, the cell that turned green in the middle of all.
    pub(crate) fn typical_cell(&self) -> (usize, usize) {
        let day = self.green_day();
        let margin = CELLS / 8;
        let inside = (margin..CELLS - margin).flat_map(|row| (margin..CELLS - margin).map(move |col| (row, col)));
        let mut cells: Vec<_> = inside.collect();
        cells.sort_by(|a, b| day[*a].total_cmp(&day[*b]));
        cells[cells.len() / 2]
    }
}

impl Seen {
    /// The arrays as a source of a fusion.
    pub(crate) fn source(&self) -> Result<MemorySource> {
        let bands = BANDS.map(str::to_owned).to_vec();
        MemorySource::new(self.grid.clone(), self.dates.clone(), bands, self.values.clone())
    }

    /// Red and nir of the pixel over a cell.
    pub(crate) fn at(&self, time: usize, (row, col): (usize, usize)) -> [f64; 2] {
        let side = CELLS / self.grid.rows();
        [0, 1].map(|band| self.values[[time, band, row / side, col / side]])
    }
}

/// The first of some dates on which the NDVI is above the threshold, in days since `since`; NaN where there is none.
pub(crate) fn first_day(dates: &[Date], since: Date, ndvi: impl Fn(usize, (usize, usize)) -> f64) -> Array2<f64> {
    Array2::from_shape_fn((CELLS, CELLS), |cell| {
        let first = (0..dates.len()).find(|&time| ndvi(time, cell) > THRESHOLD);
        first.map_or(f64::NAN, |time| f64::from(dates[time].days_since(since)))
    })
}

/// Of red and nir.
pub(crate) fn ndvi([red, nir]: [f64; 2]) -> f64 {
    (nir - red) / (nir + red)
}

/// The target's ground in pixels of so many cells per side.
fn grid(cells: usize) -> Result<Grid> {
    let size = cells as f64 * CELL_SIZE;
    let pixels = CELLS / cells;
    Grid::new(Crs::unknown(), [500_000.0, size, 0.0, 5_120_000.0, 0.0, -size], (pixels, pixels))
}
