//! Start of each tile: the beginning of the series, or a checkpoint of an earlier run.

mod agreement;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Fusion;
use super::checkpoint::{Owner, Record, StateFile, StateFolder, StateList};
use super::damage::Damage;
use crate::error::{Error, Remedy, Result};
use crate::geometry::{Date, Tile};
use crate::series::{ExistingSeries, FusionSink, HeldBlocks, Saved, SeriesIdentity};

/// The start of a tile.
#[derive(Clone, Debug)]
pub(super) enum TileStart {
    /// The tile is finished.
    Done(Box<Record>),
    /// At the prior.
    Fresh,
    /// From the stored windows.
    Full(StateFile),
    /// From means and covariances of single cells on a date.
    Light {
        date: Date,
        /// The record of the steps passed by that date or later.
        record: StateFile,
        /// Statistics up to this date are retained.
        learned: Date,
    },
}

/// What may be done again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// Whether late observations may be replayed.
    pub(super) late: bool,
    /// Whether slices that were skipped are tried again, because their files may have been repaired.
    pub(super) skipped: bool,
}

/// Data that all tiles need to choose their start.
pub(super) struct Starts<'a> {
    fusion: &'a Fusion,
    folder: &'a StateFolder,
    /// The store, for messages.
    store_path: &'a Path,
    existing: Option<&'a ExistingSeries>,
    again: Again,
    sink: &'a dyn FusionSink,
    list: StateList,
    /// Dates of the light states that every tile has, the newest first.
    lights: Vec<Date>,
    /// The date of the earliest late observation.
    pub(super) late: Option<Date>,
    /// What is not held as it was written.
    pub(super) damage: Damage,
}

impl<'a> Starts<'a> {
    pub(super) fn new(
        fusion: &'a Fusion,
        (folder, store_path, sink): (&'a StateFolder, &'a Path, &'a dyn FusionSink),
        existing: Option<&'a ExistingSeries>,
        again: Again,
    ) -> Result<Self> {
        // Those of a series that is no longer there do not belong to the one that begins.
        let list = if existing.is_some() { folder.list()? } else { StateList::default() };
        let mut counts: BTreeMap<Date, usize> = BTreeMap::new();
        list.lights.values().flatten().for_each(|file| *counts.entry(file.date).or_default() += 1);
        let common = counts.into_iter().rev().filter(|(_, count)| *count == fusion.tiling.tile_count());
        let lights = common.map(|(date, _)| date).collect();
        let damage = Damage::new(fusion, existing);
        Ok(Self { fusion, folder, store_path, existing, again, sink, list, lights, late: None, damage })
    }

    /// The start of a tile; what is held is looked at where it is the `own` tile of this process: others may be at work
    /// on theirs.
    pub(super) fn start_of(&mut self, tile: &Tile, own: bool) -> Result<TileStart> {
        // What lists the steps passed, whichever checkpoint the tile starts from: the newest record, and what visible
        // dates were made from since.
        let mut newest: Option<(Record, StateFile)> = None;
        let mut shown: Option<Record> = None;
        let mut late: Option<Date> = None;
        // Of dates that are not held as they were written, the first.
        let mut fault: Option<usize> = None;
        for file in self.records(tile) {
            let record = match file.record() {
                Err(error) if self.again.late => {
                    tracing::warn!("skipping a damaged checkpoint: {error}");
                    continue;
                }
                record => record?,
            };
            self.check_record(&record, &file)?;
            let is_newest = newest.is_none();
            if is_newest {
                let held = self.look(tile, own, Some(&record))?;
                self.check_newest(&record, &file, held.saved)?;
                fault = held.first;
                shown = self.shown(tile, own, Some(&record))?;
                late = shown.as_ref().map_or(Ok(None), |shown| self.late_of(shown))?;
            }
            let holds = fault.is_none_or(|fault| self.damage.needed(&record) <= fault);
            let late_here = self.late_of(&record)?;
            late = late.into_iter().chain(late_here).min();
            if late_here.is_none() && holds {
                if is_newest && record.ended && Some(record.date) == self.damage.last {
                    return Ok(TileStart::Done(Box::new(record)));
                }
                if record.full {
                    self.note(late);
                    if let Some(passed) = shown.as_ref().or(newest.as_ref().map(|(newest, _)| newest)) {
                        self.check_held(passed, record.date)?;
                    }
                    return Ok(TileStart::Full(file));
                }
            }
            // A light state is valid for the record that ended its run.
            let fault_date = fault.and_then(|fault| self.fusion.output.get(fault).copied());
            let earliest = late.into_iter().chain(fault_date).min();
            let before = earliest.is_none_or(|earliest| record.light.is_some_and(|date| date < earliest));
            if let Some(date) = record.light.filter(|date| before && self.is_common(*date)) {
                self.note(late);
                let (newest, file) = newest.as_ref().map_or((&record, &file), |(newest, file)| (newest, file));
                self.check_held(shown.as_ref().unwrap_or(newest), date)?;
                // From what came late or is not held on, everything is learned anew: windows that failed, too.
                let learned = earliest.map_or(newest.date, |earliest| newest.date.min(earliest + -1));
                return Ok(TileStart::Light { date, record: file.clone(), learned });
            }
            newest.get_or_insert((record, file));
        }
        self.start_again(tile, own, (newest.map(|(newest, _)| newest), shown), (late, fault))
    }

    /// The start of a tile from the prior, where no checkpoint serves.
    fn start_again(
        &mut self,
        tile: &Tile,
        own: bool,
        (newest, mut shown): (Option<Record>, Option<Record>),
        (mut late, fault): (Option<Date>, Option<usize>),
    ) -> Result<TileStart> {
        // Files of early dates may be gone, so a tile that was finished does not start again without a request.
        let finished = self.existing.is_some_and(|existing| existing.finished_dates > 0);
        if newest.is_none() && !finished {
            self.look(tile, own, None)?;
            shown = self.shown(tile, own, None)?;
            late = shown.as_ref().map_or(Ok(None), |shown| self.late_of(shown))?;
        }
        if finished && !self.again.late && fault.is_none() {
            let (row, col) = tile.index;
            let folder = self.folder.path().display();
            let problem = format!(
                "tile [{row}, {col}] has no checkpoint to continue from in {folder} (run.checkpoint = \"off\"?); a replay begins it \
                 anew from all observations"
            );
            return Err(Error::CannotContinue { path: self.store_path(), problem, remedy: Some(Remedy::Replay) });
        }
        match shown.or(newest) {
            Some(passed) => {
                self.check_held(&passed, self.fusion.before_first())?;
                self.note(late);
            }
            // Results that readers have already used may change.
            None if finished => self.note(self.fusion.steps.first().map(|(date, _)| *date)),
            None => {}
        }
        Ok(TileStart::Fresh)
    }

    /// What the sink holds of a tile of this process.
    fn look(&mut self, tile: &Tile, own: bool, record: Option<&Record>) -> Result<HeldBlocks> {
        if own { self.damage.look(self.sink, tile.index, record) } else { Ok(HeldBlocks::default()) }
    }

    /// Refuses a record of another series, or of a later state of this series than that of the store.
    fn check_record(&self, record: &Record, file: &StateFile) -> Result<()> {
        let refuse = |problem: &str| Err(Error::ForeignState { path: file.path(), problem: problem.into() });
        self.check_owner(&record.owner, file)?;
        if record.settings != self.fusion.settings {
            return refuse("it belongs to a series of other settings");
        }
        if self.existing.is_some_and(|existing| record.written > existing.planned.0) {
            return refuse("it covers more dates than the store has: was the store replaced by an older one?");
        }
        Ok(())
    }

    /// Refuses a file of another series, or of a later generation than that of the store.
    fn check_owner(&self, owner: &Owner, file: &StateFile) -> Result<()> {
        match self.existing.and_then(|existing| existing.identity.as_ref()) {
            Some(SeriesIdentity { id, generation, .. }) => file.check_series(owner, (id, *generation)),
            None => {
                let problem = "there is no series that it could belong to".into();
                Err(Error::ForeignState { path: file.path(), problem })
            }
        }
    }

    /// Refuses a newest record that is older than the newest that was saved: an older copy. A replay may begin there.
    fn check_newest(&self, record: &Record, file: &StateFile, saved: Option<Saved>) -> Result<()> {
        let found = Saved { generation: record.owner.generation, date: record.date };
        match saved.filter(|saved| !self.again.late && found < *saved) {
            None => Ok(()),
            Some(Saved { generation, date }) => {
                let problem = format!(
                    "the newest checkpoint of tile {:?}, {}, is of {} (generation {}), but one of {date} (generation {generation}) \
                     was saved: the folder was replaced by an older copy, or the checkpoint removed; put it back, or replay \
                     from here",
                    file.tile,
                    file.path().display(),
                    found.date,
                    found.generation
                );
                Err(Error::CannotContinue { path: self.store_path(), problem, remedy: Some(Remedy::Replay) })
            }
        }
    }

    /// Whether every tile has a light state of the date.
    fn is_common(&self, date: Date) -> bool {
        self.lights.contains(&date)
    }

    /// Dates of the light states that every tile has, the newest first.
    pub(super) fn common_lights(&self) -> &[Date] {
        &self.lights
    }

    /// Whether a tile has a light state of the date.
    pub(super) fn has_light(&self, tile: &Tile, date: Date) -> bool {
        self.list.lights.get(&tile.index).is_some_and(|files| files.iter().any(|file| file.date == date))
    }

    /// Records of a tile, the newest first.
    pub(super) fn records(&self, tile: &Tile) -> Vec<StateFile> {
        self.list.records.get(&tile.index).cloned().unwrap_or_default()
    }

    fn store_path(&self) -> PathBuf {
        self.store_path.to_path_buf()
    }

    fn note(&mut self, late: Option<Date>) {
        self.late = match (self.late, late) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
