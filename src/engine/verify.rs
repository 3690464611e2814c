//! Reads the checkpoints of a series and compares them with the store.

use std::collections::BTreeMap;
use std::path::Path;

use super::checkpoint::{Owner, Record, StateFile, StateFolder};
use crate::error::{Error, Result};
use crate::series::{ExistingSeries, Problem, Saved, Verification};
use crate::storage::Place;

/// What mends a checkpoint.
const REMOVED: &str = "put back the one that was there; or remove it, and resume or append with a replay";

/// Reads every checkpoint at a place, the state folder of the store that was [verified](crate::sink::verify), and
/// adds what is wrong. Changes nothing.
///
/// # Errors
/// [`Error::Checkpoint`] when the folder cannot be read.
pub fn verify_checkpoints(folder: impl Into<Place>, found: &mut Verification) -> Result<()> {
    let Some(series) = found.series.clone() else { return Ok(()) };
    let folder = StateFolder::new(&folder.into())?;
    // Without checkpoints a series that has ended has no folder of them.
    let is_saved = found.saved.iter().any(|(_, saved)| saved.is_some());
    if !folder.is_there()? {
        if is_saved && !series.finished {
            let remedy = "put it back; or resume or append with a replay, which begins all tiles anew";
            found.problems.push(Problem::new(folder.path(), "is not there, but checkpoints were saved in it", remedy));
        }
        return Ok(());
    }
    if !folder.is_ours()? {
        let remedy = "move it away: no run continues beside it";
        found.problems.push(Problem::new(folder.path(), "is no folder of checkpoints of this version", remedy));
        return Ok(());
    }
    let list = folder.list()?;
    let saved: BTreeMap<(usize, usize), Option<Saved>> = found.saved.iter().copied().collect();
    let mut problem = |error: &Error, path: &Path| found.problems.push(Problem::new(path, error.to_string(), REMOVED));
    for file in list.lights.values().flatten() {
        if let Err(error) = file.check() {
            problem(&error, &file.path());
        }
    }
    for file in list.shown.values().flatten() {
        if let Err(error) = file.shown().and_then(|shown| check_owner(file, &shown.owner, &series)) {
            problem(&error, &file.path());
        }
    }
    for (tile, files) in &list.records {
        for (age, file) in files.iter().enumerate() {
            let newest = saved.get(tile).copied().flatten().filter(|_| age == 0);
            if let Err(error) = file.check().and_then(|()| check_record(file, &file.record()?, &series, newest)) {
                problem(&error, &file.path());
            }
        }
    }
    let bare = saved.iter().filter(|(tile, saved)| saved.is_some() && !list.records.contains_key(tile));
    for (&(row, col), _) in bare.filter(|_| !(list.records.is_empty() && series.finished)) {
        let remedy = "resume or append with a replay, which begins it anew";
        let problem = format!("holds no checkpoint of tile [{row}, {col}], of which one was saved");
        found.problems.push(Problem::new(folder.path(), problem, remedy));
    }
    Ok(())
}

/// Refuses a record that is not one of the series, or is older than the newest that was saved.
fn check_record(file: &StateFile, record: &Record, series: &ExistingSeries, newest: Option<Saved>) -> Result<()> {
    let refuse = |problem: String| Err(Error::ForeignState { path: file.path(), problem });
    check_owner(file, &record.owner, series)?;
    let other = record.settings.iter().find(|(key, value)| series.settings.get(key) != Some(value));
    if let Some((key, _)) = other {
        return refuse(format!("it belongs to a series of other settings: {key}"));
    }
    if record.written > series.planned.0 {
        return refuse(format!("it covers {} dates, the store {}", record.written, series.planned.0));
    }
    let found = Saved { generation: record.owner.generation, date: record.date };
    match newest.filter(|newest| found < *newest) {
        Some(newest) => refuse(format!("it is of {}, but one of {} was saved: an older copy", found.date, newest.date)),
        None => Ok(()),
    }
}

/// Refuses a file that is not one of the series.
fn check_owner(file: &StateFile, owner: &Owner, series: &ExistingSeries) -> Result<()> {
    series.identity.as_ref().map_or(Ok(()), |now| file.check_series(owner, (&now.id, now.generation)))
}
