//! Start of each tile: the beginning of the series, or a checkpoint of an earlier run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Fusion;
use super::checkpoint::{PassedStep, Record, StateFile, StateFolder, StateList};
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

/// Comparison of the steps that a tile has passed with the current ones.
enum Agreement {
    Same,
    Late(Date, usize),
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
        // The newest record lists the steps passed, whichever checkpoint the tile starts from.
        let mut newest: Option<(Record, StateFile)> = None;
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
            if newest.is_none() {
                let held = self.look(tile, own, Some(&record))?;
                self.check_newest(&record, &file, held.saved)?;
                fault = held.first;
            }
            let holds = |dates: usize| fault.is_none_or(|fault| dates <= fault);
            match self.compare(&record)? {
                Agreement::Late(date, instrument) if !self.again.late => {
                    let instrument = self.fusion.model.instruments[instrument].name.clone();
                    let (path, passed) = (self.store_path(), record.date);
                    return Err(Error::LateDate { path, instrument, date, passed });
                }
                Agreement::Late(date, _) => late = Some(late.map_or(date, |late| late.min(date))),
                Agreement::Same if newest.is_none() => {
                    let last = self.fusion.steps.last().map(|(date, _)| *date);
                    if record.ended && Some(record.date) == last && holds(self.damage.needed(&record)) {
                        return Ok(TileStart::Done(Box::new(record)));
                    }
                    if record.full && holds(self.damage.needed(&record)) {
                        return Ok(TileStart::Full(file));
                    }
                }
                Agreement::Same if record.full && holds(self.damage.needed(&record)) => {
                    self.note(late);
                    if let Some((newest, _)) = &newest {
                        self.check_held(newest, record.date)?;
                    }
                    return Ok(TileStart::Full(file));
                }
                Agreement::Same => {}
            }
            // A light state is valid for the record that ended its run.
            let fault_date = fault.and_then(|fault| self.fusion.output.get(fault).copied());
            let earliest = late.into_iter().chain(fault_date).min();
            let before = earliest.is_none_or(|earliest| record.light.is_some_and(|date| date < earliest));
            if let Some(date) = record.light.filter(|date| before && self.is_common(*date)) {
                self.note(late);
                let (newest, file) = newest.as_ref().map_or((&record, &file), |(newest, file)| (newest, file));
                self.check_held(newest, date)?;
                // From what came late or is not held on, everything is learned anew: windows that failed, too.
                let learned = earliest.map_or(newest.date, |earliest| newest.date.min(earliest + -1));
                return Ok(TileStart::Light { date, record: file.clone(), learned });
            }
            newest.get_or_insert((record, file));
        }
        // Files of early dates may be gone, so a tile that was finished does not start again without a request.
        let finished = self.existing.is_some_and(|existing| existing.finished_dates > 0);
        if newest.is_none() && !finished {
            self.look(tile, own, None)?;
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
        match &newest {
            Some((newest, _)) => {
                self.check_held(newest, self.fusion.before_first())?;
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
        match self.existing.and_then(|existing| existing.identity.as_ref()) {
            Some(SeriesIdentity { id, generation, .. }) => file.check_series(&record.owner, (id, *generation))?,
            None => return refuse("there is no series that it could belong to"),
        }
        if record.settings != self.fusion.settings {
            return refuse("it belongs to a series of other settings");
        }
        if self.existing.is_some_and(|existing| record.written > existing.planned.0) {
            return refuse("it covers more dates than the store has: was the store replaced by an older one?");
        }
        Ok(())
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

    /// Refuses to replay observations after `date` when files of them are gone: the result would differ.
    fn check_held(&self, record: &Record, date: Date) -> Result<()> {
        let now: BTreeMap<Date, &[usize]> =
            self.fusion.steps.iter().map(|(date, step)| (*date, step.instruments.as_slice())).collect();
        for step in record.steps.iter().filter(|step| step.date > date) {
            let held = now.get(&step.date).copied().unwrap_or_default();
            if let Some(&gone) = step.instruments.iter().find(|instrument| !held.contains(instrument)) {
                let name = self.fusion.model.instruments.get(gone).map_or("an instrument", |gone| gone.name.as_str());
                let problem = format!(
                    "the dates after {date} must be replayed, but the file of {name:?} for {} is missing; restore it",
                    step.date
                );
                return Err(Error::CannotContinue { path: self.store_path(), problem, remedy: None });
            }
        }
        Ok(())
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

    /// Whether slices that a record's tile has skipped are tried again. In a replay that goes on, each tile tries them once:
    /// a file that stays broken must not keep it from its end.
    fn retries(&self, record: &Record) -> bool {
        let identity = self.existing.and_then(|existing| existing.identity.as_ref());
        let before = identity.is_some_and(|now| now.replaying && record.owner.generation < now.generation);
        self.again.skipped || before
    }

    /// Compares the steps that a tile has passed with the current ones. Files that have disappeared since do not
    /// matter.
    fn compare(&self, record: &Record) -> Result<Agreement> {
        let passed: BTreeMap<Date, &PassedStep> = record.steps.iter().map(|step| (step.date, step)).collect();
        let now = self.fusion.steps.partition_point(|(date, _)| *date <= record.date);
        let now = &self.fusion.steps[..now];
        let outputs_now = now.iter().filter(|(_, step)| step.output.is_some()).map(|(date, _)| *date);
        let outputs_then = record.steps.iter().filter(|step| step.output).map(|step| step.date);
        let mut late = None;
        let retries = self.retries(record);
        for (date, step) in now {
            let then = passed.get(date).map_or(&[][..], |step| &step.instruments);
            let missed = |instrument: &usize| {
                !then.contains(instrument) || (retries && record.summary.was_skipped(*date, *instrument))
            };
            if let Some(&instrument) = step.instruments.iter().find(|instrument| missed(instrument)) {
                late = Some(Agreement::Late(*date, instrument));
                break;
            }
            // An acquisition that was assimilated with another group counts as late.
            let groups = self.fusion.groups_on(*date, &step.instruments);
            let known = |instrument: &usize| passed.get(date).and_then(|step| step.groups.get(instrument));
            let other = groups.iter().find(|(instrument, groups)| known(instrument) != Some(*groups));
            if let Some((&instrument, _)) = other {
                if !self.again.late {
                    let name = &self.fusion.model.instruments[instrument].name;
                    let problem = format!(
                        "instrument {name:?} belongs to another group on {date} than when the date was processed; replay the dates \
                         since then, or put the groups of dates up to {} back as they were",
                        record.date
                    );
                    return Err(Error::CannotContinue {
                        path: self.store_path(),
                        problem,
                        remedy: Some(Remedy::Replay),
                    });
                }
                late = Some(Agreement::Late(*date, instrument));
                break;
            }
        }
        // With `output = "observed"`, a late date is also a new date of the output axis.
        // A run with fewer dates is reported elsewhere.
        let shorter = self.existing.is_some_and(|existing| self.fusion.output.len() < existing.planned.0);
        if late.is_none() && !shorter && !outputs_now.eq(outputs_then) {
            let problem = format!(
                "the output dates up to {} differ from those of the series; with `time.output = \"observed\"` this happens when \
                 files are missing: restore them",
                record.date
            );
            return Err(Error::CannotContinue { path: self.store_path(), problem, remedy: None });
        }
        Ok(late.unwrap_or(Agreement::Same))
    }
}
