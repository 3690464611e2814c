//! Landsat and MODIS over Kranj: the files, and a fusion of them whose variances are measured in the images.
//!
//! Ranges and the ratios between variances are constants; the structure was chosen on this scene. What each part of the model gains is in
//! `docs/ablations.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array3, ArrayView2, Axis};
use rasterfuse::describe::{Footprint, Instrument, Kernel, OffsetLayer, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::Date;
use rasterfuse::source::{RasterSource, RasterStack};
use rasterfuse::{Fusion, Result};

/// Both instruments have the same bands.
pub(crate) const BANDS: [&str; 6] = ["blue", "green", "red", "nir", "swir1", "swir2"];
/// Noise variance of Landsat, in reflectance²: a standard deviation of 0.001.
pub(crate) const LANDSAT_NOISE: f64 = 1e-6;

/// Where the files are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/kranj")
}

/// Some of the files.
pub(crate) fn open(folder: &Path, pattern: &str) -> Result<RasterStack> {
    RasterStack::builder(pattern, r"_(\d{8})\.tif$").folder(folder).open()
}

/// The whole image of a date. **Shape** (band, y, x).
pub(crate) fn image(source: &RasterStack, date: usize) -> Result<Array3<f64>> {
    let bands: Vec<usize> = (0..BANDS.len()).collect();
    Ok(source.read(source.dates()[date], &bands, &source.grid().region())?.values)
}

/// What is measured, per band.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Mean squared change of a MODIS pixel from a day to the next: what the ground changes by in a day.
    change: Vec<f64>,
    /// Mean and variance of a Landsat image.
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Settings {
    /// From the first image of Landsat and the images of MODIS until a date, two at least.
    pub(crate) fn measure(landsat: &RasterStack, modis: &RasterStack, until: Date) -> Result<Self> {
        let seen = modis.dates().partition_point(|date| *date <= until);
        let images = (0..seen).map(|date| image(modis, date)).collect::<Result<Vec<_>>>()?;
        let change = |band: usize| {
            let change = |pair: &[Array3<f64>]| &pair[1].index_axis(Axis(0), band) - &pair[0].index_axis(Axis(0), band);
            let squares = images.windows(2).flat_map(change).map(|change| change * change);
            mean(&squares.collect::<Vec<_>>())
        };
        let (mean, variance) = image(landsat, 0)?.outer_iter().map(moments).unzip();
        Ok(Self { change: (0..BANDS.len()).map(change).collect(), mean, variance })
    }

    /// Variance of a band's change per day.
    pub(crate) fn daily_variance(&self, band: usize) -> f64 {
        1.5 * self.change[band]
    }

    /// The fusion of both, without its period.
    pub(crate) fn fusion(&self, landsat: RasterStack, modis: Arc<RasterStack>) -> FusionBuilder {
        let times = |factor: f64| self.change.iter().map(|variance| factor * variance).collect::<Vec<_>>();
        // Fields change by themselves, and landscapes together.
        let process =
            Process::new(Kernel::Exponential, 200.0, times(1.0)).nested(Kernel::Exponential, 3000.0, times(0.5));
        // MODIS looks from other angles through other filters: each of its pixels is off by an amount of its own that changes slowly.
        // This is what honest intervals depend on.
        let offsets = OffsetLayer::per_pixel(times(4.0)).drift(times(0.25));
        Fusion::builder(landsat.grid().clone())
            .bands(BANDS)
            .window(4, 4)
            .process(process)
            // Cells are alike before the first day as they change alike: the first image tells of cells that it lacks, too.
            .prior(Prior::new(self.mean.clone(), self.variance.clone()).correlated())
            .instrument(Instrument::new("landsat", landsat).observes(BANDS).noise_variance(LANDSAT_NOISE))
            .instrument(
                Instrument::new("modis", modis)
                    .observes(BANDS)
                    .footprint(Footprint::Uniform)
                    .noise_variance(times(0.1))
                    .offset_layer(offsets),
            )
    }
}

/// Mean and variance of a band.
fn moments(values: ArrayView2<'_, f64>) -> (f64, f64) {
    let average = mean(values.iter());
    let squares: Vec<f64> = values.iter().map(|value| (value - average).powi(2)).collect();
    (average, mean(&squares))
}

/// Of what is not missing.
fn mean<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    let seen = values.into_iter().filter(|value| !value.is_nan());
    let (sum, count) = seen.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}
