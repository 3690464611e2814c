//! Reads a whole store and compares it with its records and with itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use ndarray::Array1;
use serde_json::{Map, Value};

use super::ZarrFormat;
use super::existing::{existing_series, group_attributes};
use super::held::{Chunks, Form, documents, in_order, tiled};
use super::ledger::{FOLDER, recorded_tiles};
use super::overviews::GROUP;
use super::reader::{FusedSeries, Opening, refuse};
use super::store::{ReadStore, io_error};
use crate::error::Result;
use crate::geometry::Date;
use crate::series::{ExistingSeries, HeldBlocks, Problem, Verification, digest};
use crate::source::{Pass, PassWatch, RasterSource};
use crate::storage::{Folder, Place};

/// Dates of a tile that are compared between two reports of progress.
const DATES: usize = 256;

/// What mends metadata that contradict each other.
const REWRITTEN: &str = "the next run into the store that has something to do writes it again";

/// Reads every chunk of the store at a place and compares it with what was recorded when it was written; compares
/// metadata and coordinates with each other. Changes nothing.
///
/// # Errors
/// [`Error::OpenStore`](crate::Error::OpenStore) when there is no series, [`Error::Store`](crate::Error::Store) when a
/// file cannot be read.
pub fn verify(place: impl Into<Place>) -> Result<Verification> {
    verify_watched(place, &())
}

/// The same, followed by `watch`, which may end it early.
///
/// # Errors
/// As [`verify`], and [`Error::Interrupted`](crate::Error::Interrupted) where the watch ends it.
pub fn verify_watched(place: impl Into<Place>, watch: &dyn PassWatch) -> Result<Verification> {
    let folder = place.into().folder()?;
    let root = folder.path();
    let attributes = group_attributes(&*folder).map_err(|problem| refuse(root, problem))?;
    let attributes = attributes.ok_or_else(|| refuse(root, "there is no series".into()))?;
    let series = existing_series(&attributes).map_err(|problem| refuse(root, problem))?;
    let mut found = Verification { state: series.describe(), ..Verification::default() };
    if let Some(identity) = &series.identity {
        (found.series_id, found.generation) = (Some(identity.id.clone()), Some(identity.generation));
    } else {
        let remedy = "a series that is made anew has records";
        found.problems.push(Problem::new(root, "made by an earlier version, without records of its chunks", remedy));
    }
    let v3 = folder.has("zarr.json").map_err(|error| io_error(root, "cannot look for zarr.json", error))?;
    let format = if v3 { ZarrFormat::V3 } else { ZarrFormat::V2 };
    let arrays = check_documents(&*folder, format, &series, &mut found.problems);
    match FusedSeries::of((root, &folder)) {
        Err(error) => {
            let remedy = "restore its metadata from a copy";
            found.problems.push(Problem::new(root, format!("readers cannot open it: {error}"), remedy));
        }
        Ok(opened) => {
            check_coordinates(&folder, &opened, &series, &mut found.problems);
            check_chunks(&*folder, (&opened, &series), (format, arrays), watch, &mut found)?;
        }
    }
    found.series = Some(series);
    Ok(found)
}

/// Compares every array's own document with the consolidated one, and their lengths with the number of dates. Returns
/// the arrays that have a chunk for each tile and date.
fn check_documents(
    folder: &dyn Folder,
    format: ZarrFormat,
    series: &ExistingSeries,
    problems: &mut Vec<Problem>,
) -> Vec<&'static str> {
    let read = |name: &str| serde_json::from_slice::<Value>(&folder.read(name).ok()??).ok();
    let name = if format == ZarrFormat::V3 { "zarr.json" } else { ".zmetadata" };
    let group = folder.path_of(name);
    let documents = documents(folder, format).unwrap_or_else(|error| {
        problems.push(Problem::new(&group, format!("cannot be read: {error}"), "look at the disk or the server"));
        Map::new()
    });
    if documents.is_empty() {
        problems.push(Problem::new(&group, "holds no consolidated metadata", REWRITTEN));
    }
    let mut arrays = Vec::new();
    for (name, consolidated) in &documents {
        let own = if format == ZarrFormat::V3 { format!("{name}/zarr.json") } else { name.clone() };
        let mut document = read(&own);
        // The group of an overview has the documents of its arrays, which the first one has by their paths.
        if let Some(group) = document.as_mut().and_then(Value::as_object_mut)
            && consolidated.get("node_type").is_some_and(|kind| kind == "group")
        {
            group.remove("consolidated_metadata");
        }
        match document {
            None => problems.push(Problem::new(folder.path_of(&own), "is missing or damaged", REWRITTEN)),
            Some(document) if document != *consolidated => {
                problems.push(Problem::new(
                    folder.path_of(&own),
                    "differs from the consolidated metadata of the group",
                    REWRITTEN,
                ));
            }
            Some(_) => {}
        }
        let array = name.trim_end_matches("/.zarray");
        let is_time = array == "time" || array.starts_with(GROUP) && array.ends_with("/time");
        let known = tiled(name);
        if known.is_none() && !is_time {
            continue;
        }
        let dates = consolidated.pointer("/shape/0").and_then(Value::as_u64);
        if dates != Some(series.visible as u64) {
            let dates = dates.map_or("no".into(), |dates| dates.to_string());
            let problem = format!("has {dates} dates of {array}, dates_committed is {}", series.visible);
            problems.push(Problem::new(&group, problem, REWRITTEN));
        }
        arrays.extend(known);
    }
    in_order(arrays)
}

/// Compares dates with their digest, and cell centres with the grid.
fn check_coordinates(
    folder: &Arc<dyn Folder>,
    opened: &FusedSeries,
    series: &ExistingSeries,
    problems: &mut Vec<Problem>,
) {
    let root = folder.path();
    let dates = opened.dates();
    let planned = dates.len() == series.planned.0;
    if dates.windows(2).any(|pair| pair[0] >= pair[1]) || (planned && digest(dates) != series.dates_digest) {
        problems.push(Problem::new(root.join("time"), "holds other dates than were planned", REWRITTEN));
    }
    let opening = Opening { path: root, store: Arc::new(ReadStore::new(folder)) };
    let grid = opened.grid();
    let (rows, cols) = grid.shape();
    for (name, cells, centres) in [("y", rows, true), ("x", cols, false)] {
        // Metadata may say any length, so it is compared before anything is read.
        let length = opening.array(name).map(|array| array.shape().to_vec());
        let centres = || Array1::from_vec(if centres { grid.y_centres() } else { grid.x_centres() });
        match length.and_then(|length| {
            let same = length == [cells as u64];
            Ok(same && opening.read_all::<f64, ndarray::Ix1>(name)? == centres())
        }) {
            Ok(true) => {}
            Ok(false) => {
                problems.push(Problem::new(root.join(name), "holds other coordinates than the grid has", REWRITTEN));
            }
            Err(error) => problems.push(Problem::new(root.join(name), error.to_string(), REWRITTEN)),
        }
    }
}

/// Compares every visible chunk with its record.
fn check_chunks(
    folder: &dyn Folder,
    (opened, series): (&FusedSeries, &ExistingSeries),
    (format, arrays): (ZarrFormat, Vec<&'static str>),
    watch: &dyn PassWatch,
    found: &mut Verification,
) -> Result<()> {
    let Some(identity) = &series.identity else { return Ok(()) };
    let dates: &[Date] = opened.dates();
    let (rows, cols) = opened.grid().shape();
    let (height, width) = opened.block_shape().unwrap_or((rows, cols));
    let (down, across) = (rows.div_ceil(height), cols.div_ceil(width));
    // By the records that are there: metadata may say any number of tiles.
    let recorded = recorded_tiles(folder).map_err(|error| io_error(folder.path(), "cannot list records", error))?;
    let recorded: BTreeSet<(usize, usize)> =
        recorded.into_iter().filter(|(row, col)| *row < down && *col < across).collect();
    let tiles = down.saturating_mul(across);
    if recorded.len() < tiles {
        let problem = format!("has no records of {} of {tiles} tiles", tiles - recorded.len());
        found.problems.push(Problem::new(
            folder.path_of(FOLDER),
            problem,
            "resume the run, which makes their chunks again",
        ));
    }
    let form = Form { format, dates_per_object: opened.dates_per_object() };
    let of_date = arrays.len();
    let pass = Pass::new(watch, "comparing chunks", (recorded.len() * dates.len() * of_date) as u64);
    let chunks_of = Chunks::of((folder, &identity.id), dates, form, arrays);
    let (mut bytes, mut count) = (0, 0);
    let mut all = HeldBlocks::default();
    // Whole objects, whose indices are then read once.
    let step = DATES.next_multiple_of(form.dates_per_object.max(1));
    let some = |first: usize| first..(first + step).min(dates.len());
    for (tile, times) in recorded
        .into_iter()
        .flat_map(|tile| (0..dates.len().max(1)).step_by(step).map(move |first| (tile, some(first))))
    {
        pass.read(times.len() * of_date)?;
        let held = chunks_of.read(tile, times.clone(), &mut |length| (count, bytes) = (count + 1, bytes + length))?;
        if times.start == 0 {
            found.saved.push((tile, held.saved));
        }
        all.merge(held);
    }
    (found.chunks, found.bytes) = (count, bytes);
    (found.changed, found.faults) = (all.count, all.faults);
    Ok(())
}
