//! Real Landsat and MODIS over Kranj, Slovenia, in spring 2020: what was a cloudless Landsat image worth that came a month later?
//!
//! ```text
//! cargo run --release --example landsat_modis
//! cargo run --release --example landsat_modis -- --out figure.png
//! ```
//!
//! One Landsat image of 8 March and daily MODIS images until 2 April are fused and predicted until 9 April, when Landsat passed again. That
//! second image is withheld, so that the prediction can be judged by it: by its error, against that of the first image as it was
//! (persistence), and by the share of cells that lie inside their 90 % interval.
//!
//! Every number that the model needs is measured in the images by a rule, none is tuned to the result; the rules and what each part of the
//! model gains are those of `docs/ablations.md`. The same scene with both Landsat images, as a file: `examples/kranj.toml`.

#[path = "../common/mod.rs"]
mod common;
mod picture;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use ndarray::{Array3, Array4, ArrayView2, Axis, Zip, s};
use rasterfuse::geometry::Date;
use rasterfuse::model::{Footprint, Instrument, Kernel, OffsetLayer, Prior, Process};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{RasterSource, RasterStack};
use rasterfuse::{Fusion, Result};

use common::command::{run, say};
use common::score::Score;
use picture::Figure;

/// Both instruments have the same bands.
const BANDS: [&str; 6] = ["blue", "green", "red", "nir", "swir1", "swir2"];
/// Noise variance of Landsat, in reflectance²: a standard deviation of 0.001.
const LANDSAT_NOISE: f64 = 1e-6;

/// Predict a Landsat image from an earlier one and daily MODIS, and compare.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the figure goes.
    #[arg(long, default_value = "landsat_modis.png")]
    out: PathBuf,
}

fn main() -> ExitCode {
    run(fuse)
}

fn fuse(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/kranj");
    let open = |pattern: &str| RasterStack::builder(pattern, r"_(\d{8})\.tif$").folder(&folder).open();
    let known = open("landsat_20200308.tif")?;
    let withheld = open("landsat_20200409.tif")?;
    let modis = Arc::new(open("modis_*.tif")?);
    let (first, second) = (image(&known, 0)?, image(&withheld, 0)?);

    let fusion = describe(known, modis.clone(), withheld.dates()[0])?;
    let mut sink = MemorySink::new();
    say!("{}\n", fusion.run(&mut sink)?);
    let (mean, sd) = sink.into_arrays()?;

    let verdict = Verdict::new(&mean, &sd, &first, &second);
    say!("the Landsat image of {}, which was withheld\n{verdict}\n", withheld.dates()[0]);
    Figure { grid: fusion.target(), dates: fusion.output_dates(), modis: &modis, first, second, mean, sd }
        .draw(&arguments.out)?;
    say!("figure    {}", arguments.out.display());
    say!("total     {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The fusion of what is known of Landsat with MODIS, until `end`.
fn describe(landsat: RasterStack, modis: Arc<RasterStack>, end: Date) -> Result<Fusion> {
    let change = daily_change(&modis)?;
    let times = |factor: f64| change.iter().map(|variance| factor * variance).collect::<Vec<_>>();
    let (level, spread) = moments(&image(&landsat, 0)?);
    // Fields change by themselves, and landscapes together.
    let process = Process::new(Kernel::Exponential, 200.0, times(1.0)).nested(Kernel::Exponential, 3000.0, times(0.5));
    // MODIS looks from other angles through other filters: each of its pixels is off by an amount of its own that changes slowly. This
    // is what honest intervals depend on.
    let offsets = OffsetLayer::per_pixel(times(4.0)).drift(times(0.25));
    Fusion::builder(landsat.grid().clone())
        .bands(BANDS)
        .window(4, 4)
        .process(process)
        // Cells are alike before the first day as they change alike: the first image tells of cells that it lacks, too.
        .prior(Prior::new(level, spread).correlated())
        .instrument(Instrument::new("landsat", landsat).observes(BANDS).noise_variance(LANDSAT_NOISE))
        .instrument(
            Instrument::new("modis", modis)
                .observes(BANDS)
                .footprint(Footprint::Uniform)
                .noise_variance(times(0.1))
                .offset_layer(offsets),
        )
        .end(end)
        .build()
}

/// The whole image of a date. **Shape** (band, y, x).
fn image(source: &RasterStack, date: usize) -> Result<Array3<f64>> {
    let bands: Vec<usize> = (0..BANDS.len()).collect();
    Ok(source.read(source.dates()[date], &bands, &source.grid().region())?.values)
}

/// Mean squared change of a pixel from a day to the next, per band: what a field changes by in a day, and more where there is noise.
fn daily_change(source: &RasterStack) -> Result<Vec<f64>> {
    let images = (0..source.dates().len()).map(|date| image(source, date)).collect::<Result<Vec<_>>>()?;
    let mean_square = |band: usize| {
        let change = |pair: &[Array3<f64>]| &pair[1].index_axis(Axis(0), band) - &pair[0].index_axis(Axis(0), band);
        let squares = images.windows(2).flat_map(|pair| change(pair)).map(|change| change * change);
        let squares: Vec<f64> = squares.filter(|square| !square.is_nan()).collect();
        squares.iter().sum::<f64>() / squares.len() as f64
    };
    Ok((0..BANDS.len()).map(mean_square).collect())
}

/// Mean and variance of each band of an image.
fn moments(image: &Array3<f64>) -> (Vec<f64>, Vec<f64>) {
    let of_band = |values: ArrayView2<'_, f64>| {
        let seen: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let mean = seen.iter().sum::<f64>() / seen.len() as f64;
        (mean, seen.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / seen.len() as f64)
    };
    image.outer_iter().map(of_band).unzip()
}

/// How the prediction compares with the withheld image, band by band.
#[derive(Debug)]
struct Verdict {
    /// Of all cells that the withheld image holds; of those that both images hold, and of the first image there.
    bands: Vec<[Score; 3]>,
}

impl Verdict {
    fn new(mean: &Array4<f64>, sd: &Array4<f64>, first: &Array3<f64>, second: &Array3<f64>) -> Self {
        let last = mean.dim().0 - 1;
        let of_band = |band: usize| {
            let (mean, sd) = (mean.slice(s![last, band, .., ..]), sd.slice(s![last, band, .., ..]));
            let (first, second) = (first.index_axis(Axis(0), band), second.index_axis(Axis(0), band));
            // The image that it is compared with has noise of its own.
            let sd = sd.mapv(|sd| sd.hypot(LANDSAT_NOISE.sqrt()));
            let both = Zip::from(first).and(second).map_collect(|a, b| if a.is_nan() { f64::NAN } else { *b });
            [Score::of_estimates(&mean, &sd, &second), Score::of(&mean, &both), Score::of(&first, &both)]
        };
        Self { bands: (0..BANDS.len()).map(of_band).collect() }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<8} {:>11} {:>17} {:>9} {:>18}",
            "band", "RMSE fused", "RMSE first image", "mean sd", "in 90 % interval"
        )?;
        let mean = |of: &dyn Fn(&[Score; 3]) -> f64| self.bands.iter().map(of).sum::<f64>() / self.bands.len() as f64;
        let line = |f: &mut fmt::Formatter<'_>, name: &str, [fused, first, sd, inside]: [f64; 4]| {
            write!(f, "\n{name:<8} {fused:>11.4} {first:>17.4} {sd:>9.4} {:>16.1} %", 100.0 * inside)
        };
        let columns: [&dyn Fn(&[Score; 3]) -> f64; 4] =
            [&|band| band[1].rmse(), &|band| band[2].rmse(), &|band| band[0].mean_sd(), &|band| band[0].coverage()];
        for (name, band) in BANDS.iter().zip(&self.bands) {
            line(f, name, columns.map(|column| column(band)))?;
        }
        line(f, "mean", columns.map(mean))
    }
}
