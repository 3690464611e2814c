//! `rasterfuse change`: maps how much each place changes.
//!
//! Reads all dates twice, tile by tile, in memory that does not grow with them, and writes the raster that
//! `process.variation` names.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rasterfuse::config::FusionConfig;
use rasterfuse::model::ChangeBuilder;
use rasterfuse::source::RasterSource;
use rasterfuse::source::gdal::write_raster_watched;
use serde_json::json;

use crate::outcome::Outcome;
use crate::output::{JsonFile, say};
use crate::paths::relative;
use crate::progress::{Meter, OPENING};

/// Map how much each place of a target changes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Description of a fusion; its numbers need not be known yet.
    config: PathBuf,
    /// The GeoTIFF to write; one that is there is replaced.
    #[arg(short, long, default_value = "change.tif")]
    output: PathBuf,
    /// Days between the values of a coarse pixel that are compared; default: the library's.
    #[arg(long, value_name = "DAYS")]
    window: Option<i32>,
    #[command(flatten)]
    json: JsonFile,
}

const EXAMPLE: &str = "\
Example:
  rasterfuse change fusion.toml -o change.tif

The report ends in the line to put into [process]. `rasterfuse estimate` makes a map by itself where
process = \"estimate\", or variation = \"estimate\" in [process], and keeps it where it predicts better.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let started = Instant::now();
    let settings =
        arguments.window.map_or_else(ChangeBuilder::default, |days| ChangeBuilder::default().window_days(days));
    let meter = Meter::new();
    meter.announce(OPENING);
    let made = FusionConfig::read(&arguments.config)?.change_map_watched(&settings, &meter).and_then(|map| {
        write_raster_watched(&arguments.output, &map, &meter)?;
        Ok(map)
    });
    meter.end();
    let map = made?;
    let seconds = started.elapsed().as_secs_f64();
    let (rows, cols) = map.grid().shape();
    shown.json(&json!({
        "raster": arguments.output,
        "cells": [rows, cols],
        "coarse_reliability": map.coarse_reliability(),
        "reliability": map.reliability(),
        "total_seconds": seconds,
    }))?;
    if !shown.is_text() {
        return Ok(());
    }
    say!("{rows} x {cols} cells, {seconds:.1} s");
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    match map.coarse_reliability() {
        Some(share) => say!("coarse pixels: differences of their change are believed to {}", percent(share)),
        None => say!("coarse pixels: none that shows where change is larger"),
    }
    for (side, share) in [31, 15, 7, 3, 1].iter().zip(map.reliability()) {
        say!("boxes of {side:>2} cells a side: differences from the next larger are believed to {}", percent(share));
    }
    let path = relative(&arguments.output, Some(&arguments.config));
    say!("\nTo put into [process] of the description:\n\nvariation = {{ map = {:?} }}", path.display().to_string());
    Ok(())
}
