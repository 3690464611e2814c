//! The truth: a patchwork of fields that walks from day to day; and what is seen of it.

use std::cell::RefCell;

use ndarray::{Array2, Array3, Array4, Axis, s};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rasterfuse::Result;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::source::MemorySource;

use crate::RIGHT;
use crate::common::random::{clouds, patchwork, rough_field};

const DAYS: usize = 43;
const CELLS: usize = 48;
const CELL_SIZE: f64 = 30.0;
/// Cells per side of a coarse pixel.
const COARSE: usize = 8;
/// Of the first day's values.
pub(crate) const FIRST_MEAN: f64 = 0.3;
pub(crate) const FIRST_VARIANCE: f64 = 4e-3;

/// What there is to see.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) target: Grid,
    pub(crate) dates: Vec<Date>,
    /// **Shape** (time, y, x).
    pub(crate) truth: Array3<f64>,
    rng: RefCell<StdRng>,
}

/// What a fine instrument has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    target: Grid,
    pub(crate) dates: Vec<Date>,
    /// NaN under clouds. **Shape** (time, y, x).
    pub(crate) values: Array3<f64>,
}

impl Scene {
    /// A scene that walks by the right settings.
    pub(crate) fn generate(seed: u64) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let target = grid(1)?;
        let first = Date::from_ymd(2024, 5, 1)?;
        // Numbers from 0 to 1 have a variance of 1/12.
        let mut today = FIRST_MEAN + (12.0 * FIRST_VARIANCE).sqrt() * (patchwork(&target, 50, &mut rng) - 0.5);
        let mut truth = Array3::zeros((DAYS, CELLS, CELLS));
        for mut stored in truth.outer_iter_mut() {
            stored.assign(&today);
            today.scaled_add(RIGHT.variance.sqrt(), &rough_field(&target, RIGHT.range, &mut rng));
        }
        let dates = (0..DAYS as i32).map(|day| first + day).collect();
        Ok(Self { target, dates, truth, rng: RefCell::new(rng) })
    }

    /// Images of some days, each with a share of clouds.
    pub(crate) fn fine(&self, days: &[(usize, f64)], noise: f64) -> Seen {
        let rng = &mut *self.rng.borrow_mut();
        let mut values = Array3::zeros((days.len(), CELLS, CELLS));
        for (mut image, (day, cover)) in values.outer_iter_mut().zip(days) {
            let hidden = clouds(&self.target, 140.0, *cover, rng);
            image.assign(&self.truth.index_axis(Axis(0), *day));
            for (value, hidden) in image.iter_mut().zip(hidden) {
                *value = if hidden { f64::NAN } else { *value + error(noise, rng) };
            }
        }
        Seen { target: self.target.clone(), dates: days.iter().map(|(day, _)| self.dates[*day]).collect(), values }
    }

    /// Large pixels, every day, without clouds.
    pub(crate) fn coarse(&self, noise: f64) -> Result<MemorySource> {
        // The same errors for all settings.
        let mut rng = StdRng::seed_from_u64(1);
        let grid = grid(COARSE)?;
        let values = Array4::from_shape_fn((DAYS, 1, grid.rows(), grid.cols()), |(time, _, row, col)| {
            let under = |at: usize| at * COARSE..(at + 1) * COARSE;
            let cells = self.truth.slice(s![time, under(row), under(col)]);
            cells.mean().unwrap_or(f64::NAN) + error(noise, &mut rng)
        });
        MemorySource::new(grid, self.dates.clone(), vec!["value".into()], values)
    }

    /// What has changed from the first day to the last.
    pub(crate) fn change(&self) -> Array2<f64> {
        self.since_first(&self.truth.index_axis(Axis(0), DAYS - 1).to_owned())
    }

    /// Values less those of the first day.
    pub(crate) fn since_first(&self, values: &Array2<f64>) -> Array2<f64> {
        values - &self.truth.index_axis(Axis(0), 0)
    }
}

impl Seen {
    pub(crate) fn source(&self) -> Result<MemorySource> {
        let values = self.values.clone().insert_axis(Axis(1));
        MemorySource::new(self.target.clone(), self.dates.clone(), vec!["value".into()], values)
    }
}

fn error(variance: f64, rng: &mut StdRng) -> f64 {
    let error: f64 = rng.sample(StandardNormal);
    variance.sqrt() * error
}

/// The target's ground in pixels of so many cells per side.
fn grid(cells: usize) -> Result<Grid> {
    let size = cells as f64 * CELL_SIZE;
    let pixels = CELLS / cells;
    Grid::new(Crs::unknown(), [500_000.0, size, 0.0, 5_120_000.0, 0.0, -size], (pixels, pixels))
}
