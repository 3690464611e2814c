//! Real Landsat and MODIS over Kranj, Slovenia, in spring 2020: how well do one Landsat image and MODIS predict the next Landsat image?
//!
//! ```text
//! cargo run --release --example landsat_modis
//! cargo run --release --example landsat_modis -- --out figure.png
//! ```
//!
//! One Landsat image of 8 March and daily MODIS images until 2 April are fused and predicted until 9 April, when Landsat passed again. That
//! second image is withheld, and the prediction is compared with it: by its error, against that of the unchanged first image
//! (persistence), and by the share of cells that lie inside their 90 % interval.
//!
//! Variances follow by a rule from what is fused: from the first Landsat image and from MODIS. The ranges of the kernels and the ratios
//! between variances are constants (`examples/common/kranj.rs`), and the structure, offsets and a correlated prior, was chosen on this
//! scene, withheld image included (`docs/ablations.md`): other scenes may want another. The same scene with both Landsat images, as a
//! file: `examples/kranj.toml`.

#[path = "../common/mod.rs"]
mod common;
mod picture;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use ndarray::{Array3, Array4, Axis, Zip, s};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::RasterSource;

use common::command::{run, say};
use common::kranj::{self, BANDS, LANDSAT_NOISE, Settings, image};
use common::score::Score;
use picture::Figure;

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
    let folder = kranj::folder();
    let known = kranj::open(&folder, "landsat_20200308.tif")?;
    let withheld = kranj::open(&folder, "landsat_20200409.tif")?;
    let modis = Arc::new(kranj::open(&folder, "modis_*.tif")?);
    let (first, second) = (image(&known, 0)?, image(&withheld, 0)?);

    let settings = Settings::measure(&known, &modis, withheld.dates()[0])?;
    let fusion = settings.fusion(known, modis.clone()).end(withheld.dates()[0]).build()?;
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

/// How the prediction compares with the withheld image, band by band.
#[derive(Debug)]
struct Verdict {
    /// Of what is predicted and of the first image, over the cells that both images hold.
    bands: Vec<[Score; 2]>,
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
            [Score::of_estimates(mean, &sd, &both), Score::of(first, &both)]
        };
        Self { bands: (0..BANDS.len()).map(of_band).collect() }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = || self.bands.iter().map(|[fused, _]| fused.count());
        let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        let cells = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        writeln!(
            f,
            "over the {cells} cells of a band that both images hold; sd and interval with the noise of Landsat"
        )?;
        write!(
            f,
            "{:<8} {:>11} {:>17} {:>9} {:>18}",
            "band", "RMSE fused", "RMSE first image", "mean sd", "in 90 % interval"
        )?;
        let columns = |[fused, first]: &[Score; 2]| [fused.rmse(), first.rmse(), fused.mean_sd(), fused.coverage()];
        let mut line = |name: &str, [fused, first, sd, inside]: [f64; 4]| {
            write!(f, "\n{name:<8} {fused:>11.4} {first:>17.4} {sd:>9.4} {:>16.1} %", 100.0 * inside)
        };
        let mut mean = [0.0; 4];
        for (name, band) in BANDS.iter().zip(&self.bands) {
            line(name, columns(band))?;
            mean.iter_mut().zip(columns(band)).for_each(|(mean, value)| *mean += value / BANDS.len() as f64);
        }
        line("mean", mean)
    }
}
