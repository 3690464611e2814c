//! Comparison of what tiles have passed with what there is now: files that came late, and files that are gone.

use std::collections::BTreeMap;

use super::Starts;
use crate::engine::checkpoint::{PassedStep, Record, Shown, StateFile};
use crate::error::{Error, Remedy, Result};
use crate::geometry::{Date, Tile};

/// Comparison of the steps that a tile has passed with the current ones.
enum Agreement {
    Same,
    Late(Date, usize),
}

impl Starts<'_> {
    /// What a tile that is this process's `own` had passed when the dates that readers see were made, where these are
    /// more than its newest record has. Where nobody knows, or what was skipped may be readable now, they are made
    /// again.
    pub(super) fn shown(&mut self, tile: &Tile, own: bool, record: Option<&Record>) -> Result<Option<Record>> {
        let covered = record.map_or(0, |record| record.written);
        let many = self.damage.shown;
        if !own || many <= covered {
            return Ok(None);
        }
        let read = |file: &StateFile| {
            let shown = file.shown()?;
            self.check_owner(&shown.owner, file)?;
            Ok(shown)
        };
        let files = self.list.shown.get(&tile.index).into_iter().flatten();
        // One of an earlier generation may have been left by a crash.
        let newest = |shown: Vec<Shown>| shown.into_iter().max_by_key(|of| (of.owner.generation, of.date));
        let shown = match files.map(read).collect::<Result<_>>().map(newest) {
            Err(error @ Error::Checkpoint { .. }) if self.again.late => {
                tracing::warn!("skipping a damaged checkpoint: {error}");
                None
            }
            shown => shown?,
        };
        let first = self.fusion.before_first();
        let passed = shown.and_then(|shown| shown.after(record, first, (many, self.fusion.lag_asked)));
        if passed.is_none() {
            self.damage.unknown(covered);
            tracing::warn!(
                "{}: {} dates that readers see are made again, because it is not known which files tile {:?} had read for \
                 them, or some could not be read",
                self.store_path.display(),
                many - covered,
                tile.index
            );
        }
        Ok(passed)
    }

    /// The earliest date that came late for a tile.
    ///
    /// # Errors
    /// [`Error::LateDate`], where late dates are not replayed.
    pub(super) fn late_of(&self, record: &Record) -> Result<Option<Date>> {
        match self.compare(record)? {
            Agreement::Late(date, instrument) if !self.again.late => {
                let instrument = self.fusion.model.instruments[instrument].name.clone();
                let (path, passed) = (self.store_path(), record.date);
                Err(Error::LateDate { path, instrument, date, passed })
            }
            Agreement::Late(date, _) => Ok(Some(date)),
            Agreement::Same => Ok(None),
        }
    }

    /// Refuses to replay observations after `date` when files of them are gone: the result would differ.
    pub(super) fn check_held(&self, record: &Record, date: Date) -> Result<()> {
        let now: BTreeMap<Date, &[usize]> =
            self.fusion.steps.iter().map(|(date, step)| (*date, step.instruments.as_slice())).collect();
        for step in record.steps.iter().filter(|step| step.date > date) {
            let held = now.get(&step.date).copied().unwrap_or_default();
            // What could not be read does not matter.
            let is_gone = |instrument: &&usize| {
                !held.contains(instrument) && !record.summary.was_skipped(step.date, **instrument)
            };
            if let Some(&gone) = step.instruments.iter().find(is_gone) {
                let name = self.fusion.model.instruments.get(gone).map_or("an instrument", |gone| gone.name.as_str());
                let problem = format!(
                    "the dates after {date} must be made again, but the file of {name:?} for {} is missing; restore it",
                    step.date
                );
                return Err(Error::CannotContinue { path: self.store_path(), problem, remedy: None });
            }
        }
        Ok(())
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
