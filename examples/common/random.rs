//! Random fields, for scenes whose truth is known.

use std::f64::consts::TAU;

use ndarray::{Array2, ArrayView2};
use rand::RngExt;
use rand::rngs::StdRng;
use rasterfuse::geometry::Grid;

/// Waves per random field; by the central limit theorem their sum is Gaussian enough.
const WAVES: usize = 500;

/// A wave: its vector in radians per metre, and its phase.
type Wave = (f64, f64, f64);

/// A Gaussian random field of unit variance with exponential correlation.
pub(crate) fn rough_field(grid: &Grid, range: f64, rng: &mut StdRng) -> Array2<f64> {
    random_field(grid, || rough(range, rng))
}

/// A Gaussian random field of unit variance with Gaussian correlation.
pub(crate) fn smooth_field(grid: &Grid, range: f64, rng: &mut StdRng) -> Array2<f64> {
    random_field(grid, || smooth(range, rng))
}

/// Where clouds as large as `size` hide a share of the cells.
pub(crate) fn clouds(grid: &Grid, size: f64, cover: f64, rng: &mut StdRng) -> Array2<bool> {
    let field = smooth_field(grid, size, rng);
    let below = quantile(field.view(), cover);
    field.mapv(|value| value < below)
}

/// A patchwork of fields on the ground, each with a value from 0 to 1.
///
/// Every cell belongs to the nearest of random points, in a metric that stretches and turns the fields.
pub(crate) fn patchwork(grid: &Grid, fields: usize, rng: &mut StdRng) -> Array2<f64> {
    let (rows, cols) = grid.shape();
    let fields: Vec<_> = (0..fields)
        .map(|_| (rng.random::<f64>() * rows as f64, rng.random::<f64>() * cols as f64, rng.random::<f64>()))
        .collect();
    Array2::from_shape_fn((rows, cols), |(row, col)| {
        let distance = |field: &(f64, f64, f64)| {
            let (dy, dx) = (row as f64 - field.0, col as f64 - field.1);
            (0.9 * dx + 0.4 * dy).powi(2) + (0.8 * dy - 0.2 * dx).powi(2) * 3.0
        };
        fields.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map_or(0.5, |field| field.2)
    })
}

/// The value that a share of the values lies below.
fn quantile(values: ArrayView2<'_, f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get((share * sorted.len() as f64) as usize).copied().unwrap_or(f64::INFINITY)
}

/// A Gaussian random field of unit variance: the sum of plane waves drawn from its spectrum.
///
/// `cos(a + b) = cos a cos b - sin a sin b` makes the sum over all waves and cells one product of two matrices.
fn random_field(grid: &Grid, mut draw: impl FnMut() -> Wave) -> Array2<f64> {
    let (y, x, corner) = (grid.y_centres(), grid.x_centres(), grid.extent());
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
