//! `rasterfuse export`: dates of a store as cloud optimised GeoTIFFs with STAC items.

use std::path::PathBuf;
use std::time::Instant;

use bytesize::ByteSize;
use clap::Args;
use rasterfuse::export::{Export, Exported};
use rasterfuse::geometry::{Date, Extent};
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::output::{Json, say};
use crate::progress::Meter;

/// Write dates of a fused store as cloud optimised GeoTIFFs, each with a STAC item beside it.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// The store, or several that are one mosaic.
    #[arg(required = true)]
    stores: Vec<PathBuf>,
    /// A date; may be given more than once.
    #[arg(long, value_name = "YYYY-MM-DD", required_unless_present_any = ["from", "to", "all"])]
    date: Vec<Date>,
    /// All dates from this one on.
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["date", "all"])]
    from: Option<Date>,
    /// All dates up to this one.
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["date", "all"])]
    to: Option<Date>,
    /// All dates.
    #[arg(long, conflicts_with = "date")]
    all: bool,
    /// Folder of the files.
    #[arg(short, long, default_value = ".")]
    output: PathBuf,
    /// The cells that this area touches, in units of the store's CRS.
    #[arg(long, num_args = 4, value_names = ["LEFT", "BOTTOM", "RIGHT", "TOP"], allow_negative_numbers = true)]
    bbox: Option<Vec<f64>>,
    /// Bands and indices, by commas; default: all of them.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    bands: Vec<String>,
    /// Replace files that are there already.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    json: Json,
}

const EXAMPLE: &str = "\
Example, one date for QGIS, and two bands of all tiles of a spring as mosaics:
  rasterfuse export fused.zarr --date 2024-04-18
  rasterfuse export tiles/*.zarr --bands red,nir --from 2024-03-01 --to 2024-05-31 -o images

Files are named for the first store and the date: fused_2024-04-18.tif and fused_2024-04-18.json.
With --json: `exported` (date, image, item, bytes, bands with their statistics) and `seconds`.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let started = Instant::now();
    let mut export = Export::open(&arguments.stores)?.overwrite(arguments.overwrite);
    if let Some(&[left, bottom, right, top]) = arguments.bbox.as_deref() {
        export = export.bbox(&Extent { left, bottom, right, top })?;
    }
    if !arguments.bands.is_empty() {
        export = export.bands(&arguments.bands)?;
    }
    let dates = dates(arguments, &export)?;
    let meter = Meter::new();
    let mut exported: Vec<Exported> = Vec::with_capacity(dates.len());
    for (done, date) in dates.iter().enumerate() {
        meter.show((done, dates.len()), &format!("exporting {date}, {} of {} dates", done + 1, dates.len()));
        exported.push(export.cog(*date, &arguments.output)?);
    }
    meter.end();
    let seconds = started.elapsed().as_secs_f64();
    shown.json(&json!({ "exported": exported, "seconds": seconds }))?;
    if shown.is_text() {
        for Exported { image, bytes, .. } in &exported {
            say!("{}  {}", image.display(), ByteSize::b(*bytes));
        }
        say!("{} dates, each with a STAC item (.json), in {seconds:.2} s", exported.len());
    }
    Ok(())
}

/// The dates that were asked for; all of them are there.
fn dates(arguments: &Arguments, export: &Export) -> Outcome<Vec<Date>> {
    if !arguments.date.is_empty() {
        arguments.date.iter().try_for_each(|date| export.check(*date))?;
        return Ok(arguments.date.clone());
    }
    let (from, to) = (arguments.from, arguments.to);
    let inside = |date: &&Date| from.is_none_or(|from| from <= **date) && to.is_none_or(|to| **date <= to);
    let dates: Vec<Date> = export.dates().iter().filter(inside).copied().collect();
    if !dates.is_empty() {
        return Ok(dates);
    }
    let held = match (export.dates().first(), export.dates().last()) {
        (Some(first), Some(last)) => format!("it shows {first} to {last}"),
        _ => "it shows no date".into(),
    };
    let stores: Vec<String> = arguments.stores.iter().map(|store| store.display().to_string()).collect();
    Err(Failure::Program(format!("{}: no date from --from to --to; {held}", stores.join(", "))))
}
