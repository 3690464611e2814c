//! `rasterfuse look`: a picture of a date of a store, and of the series of a cell.

mod picture;

use std::path::PathBuf;

use clap::Args;
use rasterfuse::export::{CellValue, Export};
use rasterfuse::geometry::{Date, Extent};
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::output::{Json, folder_of, say};
use picture::{Map, Picture, draw};

/// Draw the mean and the standard deviation of a band on a date, and the series of a cell, as a PNG.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// The store, or several that are one mosaic.
    #[arg(required = true)]
    stores: Vec<PathBuf>,
    /// The date; default: the last.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,
    /// The band or index; default: the first.
    #[arg(long, value_name = "NAME")]
    band: Option<String>,
    /// Also the series of this cell, counted from 0.
    #[arg(long, value_name = "ROW,COL", value_parser = pair::<usize>, conflicts_with = "at")]
    cell: Option<(usize, usize)>,
    /// Also the series of the cell that holds this point, in the store's CRS.
    #[arg(long, value_name = "X,Y", value_parser = pair::<f64>, allow_hyphen_values = true)]
    at: Option<(f64, f64)>,
    /// The cells that this area touches, in units of the store's CRS.
    #[arg(long, num_args = 4, value_names = ["LEFT", "BOTTOM", "RIGHT", "TOP"], allow_negative_numbers = true)]
    bbox: Option<Vec<f64>>,
    /// The picture.
    #[arg(short, long, default_value = "look.png")]
    output: PathBuf,
    #[command(flatten)]
    json: Json,
}

const EXAMPLE: &str = "\
Example:
  rasterfuse look fused.zarr --date 2024-04-18 --band ndvi --cell 10,20 -o ndvi.png

The series is drawn with its 90 % interval. Cells of --cell are those of --bbox where that is given.
With --json: `picture`, `date`, `band`, `cells` (per side of a point of the picture) and `series` (date, mean, sd).";

/// Two numbers with a comma between them.
fn pair<T: std::str::FromStr>(text: &str) -> Result<(T, T), String> {
    let numbers = text.split_once(',').map(|(a, b)| (a.trim().parse(), b.trim().parse()));
    match numbers {
        Some((Ok(a), Ok(b))) => Ok((a, b)),
        _ => Err("give two numbers with a comma between them".into()),
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    folder_of(&arguments.output)?;
    let mut export = Export::open(&arguments.stores)?;
    let band = arguments.band.clone().or_else(|| export.band_names().first().cloned()).unwrap_or_default();
    export = export.bands(&[&band])?;
    if let Some(&[left, bottom, right, top]) = arguments.bbox.as_deref() {
        export = export.bbox(&Extent { left, bottom, right, top })?;
    }
    let none = || Failure::Program("the store shows no date yet; finish its run".into());
    let date = arguments.date.or_else(|| export.dates().last().copied()).ok_or_else(none)?;
    let preview = export.preview(date, picture::MAP as usize)?;
    let cell = match arguments.at {
        Some(point) => Some(export.cell_at(point)?),
        None => arguments.cell,
    };
    let series: Vec<CellValue> = cell.map(|cell| export.cell(cell)).transpose()?.unwrap_or_default();
    let unit = Some(export.unit()).filter(|unit| *unit != "1").map_or_else(String::new, |unit| format!(" ({unit})"));
    let drawn = Picture {
        maps: [
            Map { title: format!("{band}{unit}, {date}"), values: &preview.mean, from_zero: false },
            Map { title: format!("standard deviation{unit}"), values: &preview.sd, from_zero: true },
        ],
        mark: cell.map(|(row, col)| (row / preview.cells, col / preview.cells)),
        series: cell
            .map(|(row, col)| (format!("{band} in cell ({row}, {col}) with its 90 % interval"), series.as_slice())),
        date,
    };
    draw(&arguments.output, &drawn)
        .map_err(|error| Failure::Program(format!("cannot draw {}: {error}", arguments.output.display())))?;
    shown.json(&json!({
        "picture": arguments.output, "date": date, "band": band, "cells": preview.cells, "series": series
    }))?;
    if shown.is_text() {
        let averaged =
            if preview.cells > 1 { format!(", averages of {0} x {0} cells", preview.cells) } else { String::new() };
        say!("{}: {band} on {date}{averaged}", arguments.output.display());
    }
    Ok(())
}
