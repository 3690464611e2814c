//! Where each tile begins: at the beginning, or behind what an earlier run has left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Fusion;
use super::checkpoint::{PassedStep, Record, StateFile, StateFolder, StateList};
use crate::error::{Error, Remedy, Result};
use crate::geometry::{Date, Tile};
use crate::sink::ExistingSeries;

/// Where a tile begins.
#[derive(Clone, Debug)]
pub(super) enum TileStart {
    /// Nothing is left to do.
    Done(Box<Record>),
    /// At the prior.
    Fresh,
    /// Where its windows were.
    Full(StateFile),
    /// At the cells' means and covariances on a date.
    Light {
        date: Date,
        /// The record of what had been passed by then or later.
        record: StateFile,
        /// What it has learned up to here stays.
        learned: Date,
    },
}

/// What is known before any tile begins.
pub(super) struct Starts<'a> {
    fusion: &'a Fusion,
    folder: &'a StateFolder,
    /// The store, for messages.
    place: &'a Path,
    existing: Option<&'a ExistingSeries>,
    /// Whether what came late may be replayed.
    replay: bool,
    list: StateList,
    /// Dates of the light states that every tile has, the newest first.
    lights: Vec<Date>,
    /// The earliest date that came late.
    pub(super) late: Option<Date>,
}

/// How what a tile has passed compares with what there is now.
enum Agreement {
    Same,
    Late(Date, usize),
}

impl<'a> Starts<'a> {
    pub(super) fn new(
        fusion: &'a Fusion,
        (folder, place): (&'a StateFolder, &'a Path),
        existing: Option<&'a ExistingSeries>,
        replay: bool,
    ) -> Result<Self> {
        let list = folder.list()?;
        let mut counts: BTreeMap<Date, usize> = BTreeMap::new();
        list.lights.values().flatten().for_each(|file| *counts.entry(file.date).or_default() += 1);
        let common = counts.into_iter().rev().filter(|(_, count)| *count == fusion.tiling.tile_count());
        let lights = common.map(|(date, _)| date).collect();
        Ok(Self { fusion, folder, place, existing, replay, list, lights, late: None })
    }

    /// Where a tile begins.
    pub(super) fn of(&mut self, tile: &Tile) -> Result<TileStart> {
        // The newest record speaks of what had been passed, whichever the tile begins at.
        let mut newest: Option<(Record, StateFile)> = None;
        let mut late: Option<Date> = None;
        for file in self.records(tile) {
            let record = match file.record() {
                Err(error) if self.replay => {
                    tracing::warn!("passing over a damaged checkpoint: {error}");
                    continue;
                }
                record => record?,
            };
            self.check_place(&record, &file)?;
            match self.compare(&record)? {
                Agreement::Late(date, instrument) if !self.replay => {
                    let instrument = self.fusion.instruments[instrument].name.clone();
                    let (path, passed) = (self.place(), record.date);
                    return Err(Error::LateDate { path, instrument, date, passed });
                }
                Agreement::Late(date, _) => late = Some(late.map_or(date, |late| late.min(date))),
                Agreement::Same if newest.is_none() => {
                    let last = self.fusion.steps.last().map(|(date, _)| *date);
                    if record.ended && Some(record.date) == last {
                        return Ok(TileStart::Done(Box::new(record)));
                    }
                    if record.full {
                        return Ok(TileStart::Full(file));
                    }
                }
                Agreement::Same if record.full => {
                    self.note(late);
                    if let Some((newest, _)) = &newest {
                        self.check_held(newest, record.date)?;
                    }
                    return Ok(TileStart::Full(file));
                }
                Agreement::Same => {}
            }
            // A light state is as good as the record that ended its run.
            let before = late.is_none_or(|late| record.light.is_some_and(|date| date < late));
            if let Some(date) = record.light.filter(|date| before && self.is_common(*date)) {
                self.note(late);
                let (newest, file) = newest.as_ref().map_or((&record, &file), |(newest, file)| (newest, file));
                self.check_held(newest, date)?;
                let learned = late.map_or(newest.date, |late| newest.date.min(late + -1));
                return Ok(TileStart::Light { date, record: file.clone(), learned });
            }
            newest.get_or_insert((record, file));
        }
        // Files of dates long passed may be gone by now, so a tile that was done does not begin anew unasked.
        let finished = self.existing.is_some_and(|existing| existing.finished_dates > 0);
        if finished && !self.replay {
            let (row, col) = tile.index;
            let folder = self.folder.path().display();
            let problem = format!(
                "tile [{row}, {col}] has no checkpoint to go on from in {folder} (run.checkpoint = \"off\"?); a replay begins it \
                 anew from all observations"
            );
            return Err(Error::CannotContinue { path: self.place(), problem, remedy: Some(Remedy::Replay) });
        }
        match &newest {
            Some((newest, _)) => {
                self.check_held(newest, self.fusion.before_first())?;
                self.note(late);
            }
            // Whatever readers have seen of it may change.
            None if finished => self.note(self.fusion.steps.first().map(|(date, _)| *date)),
            None => {}
        }
        Ok(TileStart::Fresh)
    }

    /// Refuses a record of another series, or of a later state of this one than the store's.
    fn check_place(&self, record: &Record, file: &StateFile) -> Result<()> {
        let refuse =
            |problem: &str| Err(Error::Checkpoint { path: file.path.clone(), problem: problem.into(), source: None });
        if record.settings != self.fusion.settings {
            return refuse("it belongs to a series of other settings");
        }
        if self.existing.is_some_and(|existing| record.written > existing.planned.0) {
            return refuse("it speaks of more dates than the store has: was an older store put in its place?");
        }
        Ok(())
    }

    /// Refuses to replay what was taken in after `date` when files of it are gone: the result would be another.
    fn check_held(&self, record: &Record, date: Date) -> Result<()> {
        let now: BTreeMap<Date, &[usize]> =
            self.fusion.steps.iter().map(|(date, step)| (*date, step.instruments.as_slice())).collect();
        for step in record.steps.iter().filter(|step| step.date > date) {
            let held = now.get(&step.date).copied().unwrap_or_default();
            if let Some(&gone) = step.instruments.iter().find(|instrument| !held.contains(instrument)) {
                let name = &self.fusion.instruments[gone].name;
                let problem = format!(
                    "the dates after {date} must be replayed, but what {name:?} saw on {} is gone; bring its file back",
                    step.date
                );
                return Err(Error::CannotContinue { path: self.place(), problem, remedy: None });
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

    fn place(&self) -> PathBuf {
        self.place.to_path_buf()
    }

    fn note(&mut self, late: Option<Date>) {
        self.late = match (self.late, late) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Compares what a tile has passed with what there is now. Files that are gone since are no matter.
    fn compare(&self, record: &Record) -> Result<Agreement> {
        let passed: BTreeMap<Date, &PassedStep> = record.steps.iter().map(|step| (step.date, step)).collect();
        let now = self.fusion.steps.partition_point(|(date, _)| *date <= record.date);
        let now = &self.fusion.steps[..now];
        let outputs_now = now.iter().filter(|(_, step)| step.output.is_some()).map(|(date, _)| *date);
        let outputs_then = record.steps.iter().filter(|step| step.output).map(|step| step.date);
        let mut late = None;
        for (date, step) in now {
            let then = passed.get(date).map_or(&[][..], |step| &step.instruments);
            // A replay tries what was passed over again: its file may have been repaired.
            let missed = |instrument: &usize| {
                !then.contains(instrument) || (self.replay && record.summary.went_without(*date, *instrument))
            };
            if let Some(&instrument) = step.instruments.iter().find(|instrument| missed(instrument)) {
                late = Some(Agreement::Late(*date, instrument));
                break;
            }
            // That of an acquisition which was taken in with another group comes late.
            let groups = self.fusion.groups_on(*date, &step.instruments);
            let known = |instrument: &usize| passed.get(date).and_then(|step| step.groups.get(instrument));
            let other = groups.iter().find(|(instrument, groups)| known(instrument) != Some(*groups));
            if let Some((&instrument, _)) = other {
                if !self.replay {
                    let name = &self.fusion.instruments[instrument].name;
                    let problem = format!(
                        "what instrument {name:?} saw on {date} was taken in as of another group than it is of now; replay the dates \
                         since then, or put the groups of dates up to {} back as they were",
                        record.date
                    );
                    return Err(Error::CannotContinue { path: self.place(), problem, remedy: Some(Remedy::Replay) });
                }
                late = Some(Agreement::Late(*date, instrument));
                break;
            }
        }
        // With `output = "observed"` a late date is a new date of the output axis as well.
        // That a run is for fewer dates is told elsewhere.
        let shorter = self.existing.is_some_and(|existing| self.fusion.output.len() < existing.planned.0);
        if late.is_none() && !shorter && !outputs_now.eq(outputs_then) {
            let problem = format!(
                "the dates put out up to {} are not those it has; with `time.output = \"observed\"` this happens when files are gone: \
                 bring them back",
                record.date
            );
            return Err(Error::CannotContinue { path: self.place(), problem, remedy: None });
        }
        Ok(late.unwrap_or(Agreement::Same))
    }
}
