//! `rasterfuse seasonal`: fits the mean of the year to every cell.
//!
//! Reads the dates of the instruments whose pixels are target cells a few times, tile by tile, in memory that does
//! not grow with them, and writes the store that `[seasonal]` names.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rasterfuse::Result;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Date, PixelRegion};
use rasterfuse::model::SeasonalBuilder;
use rasterfuse::seasonal::SeasonalMean;
use rasterfuse::sink::SeasonalStore;
use serde::Serialize;
use serde_json::json;

use crate::outcome::Outcome;
use crate::output::{JsonFile, say};
use crate::paths::relative;
use crate::progress::{Meter, OPENING};

/// Fit the seasonal mean of every cell of a target.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Description of a fusion; the store of its [seasonal] need not exist yet.
    config: PathBuf,
    /// Instruments to fit to; may be given more than once. Default: all whose pixels are target cells.
    #[arg(long, value_name = "NAME")]
    instrument: Vec<String>,
    /// Folder of the store; an existing seasonal mean is replaced.
    #[arg(short, long, default_value = "seasonal.zarr")]
    output: PathBuf,
    /// Number of harmonics; default: the library's.
    #[arg(long)]
    harmonics: Option<usize>,
    /// Period in days; default: a year.
    #[arg(long)]
    period_days: Option<f64>,
    /// Weight that draws harmonics towards those of the neighbourhood, in observations.
    #[arg(long)]
    ridge: Option<f64>,
    /// Degrees of freedom of the errors' heavy tails; 0 for plain least squares.
    #[arg(long)]
    robust: Option<f64>,
    /// How often the data are read for a robust fit.
    #[arg(long)]
    passes: Option<usize>,
    /// Radius in cells, and observations that neighbours count for; 0 0 for none.
    #[arg(long, num_args = 2, value_names = ["CELLS", "OBSERVATIONS"])]
    neighbours: Option<Vec<f64>>,
    /// Memory for sums and values of a tile, in MiB.
    #[arg(long)]
    memory: Option<u64>,
    #[command(flatten)]
    json: JsonFile,
}

const EXAMPLE: &str = "\
Example, two harmonics from the dates of one instrument:
  rasterfuse seasonal fusion.toml --instrument sentinel2 --harmonics 2 -o seasonal.zarr

The report ends in the tables [seasonal] and [prior] to put into the description.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let started = Instant::now();
    let config = FusionConfig::read(&arguments.config)?;
    let meter = Meter::new();
    meter.announce(OPENING);
    let fit = config.seasonal_fit_watched(&settings(arguments), &arguments.instrument, &meter);
    meter.end();
    let fit = fit?;
    if shown.is_text() {
        for (name, dates) in fit.instruments() {
            let span = dates.first().zip(dates.last()).map_or_else(String::new, |(a, b)| format!(", {a} to {b}"));
            say!("{name}: {} dates{span}", dates.len());
        }
    }
    let meter = Meter::new();
    let mean = SeasonalStore::create(&arguments.output).write_watched(&fit, &meter);
    meter.end();
    let mean = mean?;
    let seconds = started.elapsed().as_secs_f64();
    let components = summary(&mean)?;
    let (rows, cols) = mean.grid().shape();
    let instruments = fit.instruments().map(|(name, dates)| json!({ "name": name, "dates": dates }));
    shown.json(&json!({
        "store": arguments.output,
        "instruments": instruments.collect::<Vec<_>>(),
        "cells": [rows, cols],
        "harmonics": mean.harmonics().count(),
        "components": components,
        "total_seconds": seconds,
    }))?;
    if !shown.is_text() {
        return Ok(());
    }
    let (height, width) = fit.tile_shape();
    let harmonics = mean.harmonics().count();
    say!("{rows} x {cols} cells in tiles of {height} x {width}, {harmonics} harmonics, {seconds:.1} s");
    say!("\n{:<16} {:>9}  {:>9}  {:>9}  {:>9}  {:>9}", "averages of", "mean", "lowest", "on", "highest", "on");
    for Component { name, mean, lowest, highest, .. } in &components {
        let ((low, low_day), (high, high_day)) = (*lowest, *highest);
        let (low_day, high_day) = (low_day.format("%d %b"), high_day.format("%d %b"));
        say!("{name:<16} {mean:>9.4}  {low:>9.4}  {low_day:>9}  {high:>9.4}  {high_day:>9}");
    }
    let variances: Vec<String> = components.iter().map(|component| format!("{:.3e}", component.variance)).collect();
    say!("\nTo put into the description; the prior's variance is that of the observations about the mean:\n");
    say!("[seasonal]\nmean = {:?}", relative(&arguments.output, Some(&arguments.config)).display().to_string());
    say!("\n[prior]\nmean = 0.0\nvariance = [{}]\ncorrelation = \"process\"", variances.join(", "));
    say!("\nand into [process], so that anomalies are forgotten (\"estimate\" finds how soon):\n");
    say!("phi = 0.98");
    Ok(())
}

/// How the mean is fitted.
fn settings(arguments: &Arguments) -> SeasonalBuilder {
    let mut settings = SeasonalBuilder::default();
    if let Some(harmonics) = arguments.harmonics {
        settings = settings.harmonics(harmonics);
    }
    if let Some(days) = arguments.period_days {
        settings = settings.period_days(days);
    }
    if let Some(ridge) = arguments.ridge {
        settings = settings.ridge(ridge);
    }
    if let Some(degrees) = arguments.robust {
        settings = settings.robust(Some(degrees).filter(|degrees| *degrees != 0.0));
    }
    if let Some(passes) = arguments.passes {
        settings = settings.passes(passes);
    }
    if let Some([cells, observations]) = arguments.neighbours.as_deref() {
        settings = match (*cells, *observations) {
            (0.0, _) | (_, 0.0) => settings.without_neighbours(),
            (cells, observations) => settings.neighbours(cells as usize, observations),
        };
    }
    if let Some(mebibytes) = arguments.memory {
        settings = settings.memory_bytes(mebibytes << 20);
    }
    settings
}

/// Averages of a component over the cells.
#[derive(Debug, Serialize)]
struct Component {
    name: String,
    mean: f64,
    /// Lowest and highest mean of a day, and the day.
    lowest: (f64, Date),
    highest: (f64, Date),
    /// Of the observations about the mean.
    variance: f64,
}

/// Reads every coefficient once, some rows at a time.
fn summary(mean: &SeasonalMean) -> Result<Vec<Component>> {
    let harmonics = mean.harmonics();
    let (rows, cols) = mean.grid().shape();
    let (p, n) = (mean.components().len(), harmonics.terms());
    let mut sums = vec![vec![0.0; n + 1]; p];
    for first in (0..rows).step_by(256) {
        let region = PixelRegion::new(first..(first + 256).min(rows), 0..cols);
        let (coefficients, scatter) = (mean.coefficients(&region)?, mean.scatter(&region)?);
        for ((j, k, ..), value) in coefficients.indexed_iter() {
            sums[j][k] += value;
        }
        for ((j, ..), value) in scatter.indexed_iter() {
            sums[j][n] += value * value;
        }
    }
    let cells = (rows * cols) as f64;
    let component = |(name, sums): (&String, &Vec<f64>)| {
        let mut terms = vec![0.0; n];
        let mut value = |date: Date| {
            harmonics.evaluate(date, &mut terms);
            terms.iter().zip(sums).map(|(term, sum)| term * sum).sum::<f64>() / cells
        };
        let days = (0..harmonics.period_days().ceil() as i32).map(|k| harmonics.reference() + k);
        let curve: Vec<(f64, Date)> = days.map(|date| (value(date), date)).collect();
        let extreme = |better: fn(f64, f64) -> bool| {
            let first = (f64::NAN, harmonics.reference());
            curve.iter().fold(first, |best, day| if best.0.is_nan() || better(day.0, best.0) { *day } else { best })
        };
        Component {
            name: name.clone(),
            mean: sums[0] / cells,
            lowest: extreme(|a, b| a < b),
            highest: extreme(|a, b| a > b),
            variance: sums[n] / cells,
        }
    };
    Ok(mean.components().iter().zip(&sums).map(component).collect())
}
