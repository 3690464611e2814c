//! The truth: spectra of fields of vegetation over soil that change daily; and two instruments that look at them.

use std::ops::Range;

use ndarray::{Array1, Array2, Array3, Array4, ArrayView3, Axis, s};
use rand::RngExt;
use rand::rngs::StdRng;
use rand_distr::StandardNormal;
use rasterfuse::Result;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::source::MemorySource;
use rasterfuse::spectral::SpectralResponse;

use crate::common::random::{clouds, patchwork, rough_field, smooth_field};

/// Days of the series, and cells per side of the target.
const DAYS: usize = 40;
const CELLS: usize = 40;
const CELL_SIZE: f64 = 30.0;
/// Cells per side of a hyperspectral pixel.
const COARSE: usize = 2;
/// Wavelengths in nm: every 15, but for those at which water vapour hides the ground.
const WAVELENGTHS: [Range<u32>; 3] = [420..1340, 1470..1790, 1970..2400];
const SPACING: usize = 15;

/// Centre and width in nm of the bands of a multispectral instrument like Landsat's.
pub(crate) const CENTRES: [f64; 7] = [443.0, 482.0, 561.0, 655.0, 865.0, 1609.0, 2201.0];
const WIDTHS: [f64; 7] = [16.0, 60.0, 57.0, 38.0, 28.0, 85.0, 187.0];

/// Days on which the hyperspectral instrument looks, and days between two passes of the other one.
const HYPERSPECTRAL_DAYS: [usize; 3] = [0, 15, 32];
const MULTISPECTRAL_PERIOD: usize = 3;
/// Noise variance of both, in reflectance².
pub(crate) const HYPERSPECTRAL_NOISE: f64 = 4e-6;
pub(crate) const MULTISPECTRAL_NOISE: f64 = 1e-5;

/// What changes: how much of it there is in different fields at first, within a field, and how far it moves in a day.
struct Cause {
    fields: f64,
    inside: f64,
    daily: f64,
}

/// Green cover, brightness of the soil, its moisture, dry matter.
const CAUSES: [Cause; 4] = [
    Cause { fields: 0.8, inside: 0.05, daily: 0.030 },
    Cause { fields: 0.4, inside: 0.06, daily: 0.012 },
    Cause { fields: 0.5, inside: 0.05, daily: 0.035 },
    Cause { fields: 0.6, inside: 0.05, daily: 0.025 },
];
/// Distance over which daily change is alike, in metres.
pub(crate) const RANGE: f64 = 250.0;

/// What there is to see.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) target: Grid,
    pub(crate) dates: Vec<Date>,
    pub(crate) wavelengths_nm: Vec<f64>,
    /// Reflectance. **Shape** (time, wavelength, y, x).
    pub(crate) truth: Array4<f64>,
}

/// What an instrument has seen, as arrays and as a source.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) dates: Vec<Date>,
    pub(crate) grid: Grid,
    /// Reflectance, NaN under clouds. **Shape** (time, band, y, x).
    pub(crate) values: Array4<f64>,
    names: Vec<String>,
}

impl Twin {
    /// A scene that depends on the state of `rng` alone.
    pub(crate) fn generate(rng: &mut StdRng) -> Result<Self> {
        let target = grid(1)?;
        let first = Date::from_ymd(2024, 5, 1)?;
        let wavelengths_nm: Vec<f64> =
            WAVELENGTHS.into_iter().flat_map(|range| range.step_by(SPACING)).map(f64::from).collect();
        let (mean, shapes) = spectra(&wavelengths_nm);
        let mut truth = Array4::zeros((DAYS, wavelengths_nm.len(), CELLS, CELLS));
        truth += &mean.insert_axis(Axis(1)).insert_axis(Axis(1));
        for (cause, shape) in CAUSES.iter().zip(shapes.columns()) {
            let mut amount = cause.fields * (patchwork(&target, 60, rng) - 0.5);
            amount.scaled_add(cause.inside, &smooth_field(&target, 200.0, rng));
            for mut day in truth.axis_iter_mut(Axis(0)) {
                for (mut band, weight) in day.axis_iter_mut(Axis(0)).zip(shape) {
                    band.scaled_add(*weight, &amount);
                }
                amount.scaled_add(cause.daily, &rough_field(&target, RANGE, rng));
            }
        }
        Ok(Self { target, dates: (0..DAYS as i32).map(|day| first + day).collect(), wavelengths_nm, truth })
    }

    /// Names of the bands: their wavelengths.
    pub(crate) fn bands(&self) -> Vec<String> {
        self.wavelengths_nm.iter().map(|wavelength| format!("{wavelength} nm")).collect()
    }

    /// What the hyperspectral instrument sees: all wavelengths, on few dates, in pixels of several cells.
    pub(crate) fn hyperspectral(&self, rng: &mut StdRng) -> Result<Seen> {
        let grid = grid(COARSE)?;
        let images = HYPERSPECTRAL_DAYS.map(|day| {
            let fine = self.truth.index_axis(Axis(0), day);
            let image = Array3::from_shape_fn((fine.dim().0, grid.rows(), grid.cols()), |(band, row, col)| {
                let cells = |at: usize| at * COARSE..(at + 1) * COARSE;
                fine.slice(s![band, cells(row), cells(col)]).mean().unwrap_or(f64::NAN)
            });
            spoil(image, &grid, HYPERSPECTRAL_NOISE, 0.08, rng)
        });
        Ok(self.seen(&images, HYPERSPECTRAL_DAYS.to_vec(), grid, self.bands()))
    }

    /// What the multispectral instrument sees through its response: a few broad bands, often, cell by cell.
    pub(crate) fn multispectral(&self, response: &SpectralResponse, rng: &mut StdRng) -> Result<Seen> {
        let weights = response.weights(&self.wavelengths_nm)?;
        let days: Vec<usize> = (0..DAYS).step_by(MULTISPECTRAL_PERIOD).collect();
        let image = |&day: &usize| {
            let truth: ArrayView3<'_, f64> = self.truth.index_axis(Axis(0), day);
            let image = Array3::from_shape_fn((CENTRES.len(), CELLS, CELLS), |(band, row, col)| {
                truth.slice(s![.., row, col]).iter().zip(weights.row(band).iter()).map(|(value, w)| value * w).sum()
            });
            let cover = (1.3 * rng.random::<f64>() - 0.2).clamp(0.0, 1.0);
            spoil(image, &self.target, MULTISPECTRAL_NOISE, cover, rng)
        };
        let images: Vec<_> = days.iter().map(image).collect();
        let names = CENTRES.iter().map(|centre| format!("ms{centre}")).collect();
        Ok(self.seen(&images, days, self.target.clone(), names))
    }

    fn seen(&self, images: &[Array3<f64>], days: Vec<usize>, grid: Grid, names: Vec<String>) -> Seen {
        let (bands, rows, cols) = images[0].dim();
        let mut values = Array4::zeros((images.len(), bands, rows, cols));
        values.outer_iter_mut().zip(images).for_each(|(mut held, image)| held.assign(image));
        Seen { dates: days.into_iter().map(|day| self.dates[day]).collect(), grid, values, names }
    }
}

impl Seen {
    pub(crate) fn source(&self) -> Result<MemorySource> {
        MemorySource::new(self.grid.clone(), self.dates.clone(), self.names.clone(), self.values.clone())
    }
}

/// The response of the multispectral instrument.
pub(crate) fn response() -> Result<SpectralResponse> {
    SpectralResponse::gaussian(CENTRES, WIDTHS)
}

/// The target's ground in pixels of so many cells per side.
fn grid(cells: usize) -> Result<Grid> {
    let size = cells as f64 * CELL_SIZE;
    let pixels = CELLS / cells;
    Grid::new(Crs::unknown(), [500_000.0, size, 0.0, 5_120_000.0, 0.0, -size], (pixels, pixels))
}

/// Adds noise, and clouds that hide all bands of a pixel.
fn spoil(mut image: Array3<f64>, grid: &Grid, noise: f64, cover: f64, rng: &mut StdRng) -> Array3<f64> {
    let hidden = clouds(grid, 250.0, cover, rng);
    for ((_, row, col), value) in image.indexed_iter_mut() {
        let error: f64 = rng.sample(StandardNormal);
        *value = if hidden[(row, col)] { f64::NAN } else { *value + noise.sqrt() * error };
    }
    image
}

/// The mean spectrum, and what each cause adds to it. **Shape** (wavelength, cause).
fn spectra(wavelengths_nm: &[f64]) -> (Array1<f64>, Array2<f64>) {
    let bell = |nm: f64, centre: f64, width: f64| (-((nm - centre) / width).powi(2)).exp();
    let step = |nm: f64, centre: f64, width: f64| 1.0 / (1.0 + (-(nm - centre) / width).exp());
    let green = |nm: f64| {
        let leaf = 0.42 * step(nm, 715.0, 15.0) * bell(nm, 900.0, 1000.0) * (1.0 - 0.15 * bell(nm, 1200.0, 50.0));
        0.03 + 0.04 * bell(nm, 550.0, 40.0) + leaf
    };
    let soil = |nm: f64| 0.06 + 0.30 * (1.0 - (-(nm - 400.0) / 700.0).exp()) - 0.03 * bell(nm, 2205.0, 30.0);
    let of = |at: &dyn Fn(f64) -> f64| wavelengths_nm.iter().map(|&nm| at(nm)).collect::<Array1<f64>>();
    let mean = of(&|nm| 0.5 * (green(nm) + soil(nm)));
    let columns = [
        of(&|nm| green(nm) - soil(nm)),
        of(&|nm| 0.6 * soil(nm)),
        of(&|nm| -soil(nm) * ((nm - 400.0) / 2000.0).powi(2)),
        of(&|nm| 0.10 * step(nm, 650.0, 60.0) - 0.06 * bell(nm, 2100.0, 90.0) - 0.03 * bell(nm, 1730.0, 60.0)),
    ];
    let shapes = Array2::from_shape_fn((wavelengths_nm.len(), columns.len()), |(band, cause)| columns[cause][band]);
    (mean, shapes)
}
