//! What dates that readers see were made from, of a tile at work: the steps since its checkpoint. Checkpoints are written
//! every few minutes, dates become visible every few seconds; a file that arrives in between is recognised by it.

use serde::{Deserialize, Serialize};

use super::folder::SHOWN;
use super::frames::FrameWriter;
use super::{Owner, PassedStep, Record, StateFile, StateFolder, failed};
use crate::engine::summary::Summary;
use crate::error::Result;
use crate::geometry::Date;
use crate::series::Settings;

/// The steps of a tile at work from which visible dates were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Shown {
    pub(in crate::engine) owner: Owner,
    /// A checkpoint of this date has those before; the day before the series where there is none.
    pub(in crate::engine) since: Date,
    /// The last of them.
    pub(in crate::engine) date: Date,
    /// Number of dates of the output axis that were made from them.
    pub(in crate::engine) written: usize,
    pub(in crate::engine) steps: Vec<PassedStep>,
    /// Slices among them that could not be read.
    pub(in crate::engine) skipped: Vec<(Date, usize)>,
}

impl StateFolder {
    /// Writes it; it survives a power loss when this returns.
    pub(in crate::engine) fn save_shown(&self, shown: &Shown) -> Result<StateFile> {
        let file = self.file(shown.owner.tile, shown.date, SHOWN);
        file.save(&mut |file| FrameWriter::new(file, shown)?.finish())?;
        Ok(file)
    }
}

impl StateFile {
    /// What a file of this kind holds.
    pub(in crate::engine) fn shown(&self) -> Result<Shown> {
        let (frames, shown): (_, Shown) = self.open()?;
        self.check_name(&shown.owner, shown.date)?;
        frames.finish().map_err(|error| failed(&self.path(), error))?;
        Ok(shown)
    }
}

impl Shown {
    /// What the tile had passed when the first dates of the output axis, so `many` with a `lag`, were made, if the newest
    /// `record` of the tile and this say it. Without a record it began after `first`.
    pub(in crate::engine) fn after(
        self,
        record: Option<&Record>,
        first: Date,
        (many, lag): (usize, usize),
    ) -> Option<Record> {
        let known = record.map_or(first, |record| record.date);
        if self.since > known || self.written < many {
            return None;
        }
        // What could not be read then may be readable now, and would be used for part of the dates.
        if self.skipped.iter().any(|(date, _)| *date > known) {
            return None;
        }
        let before = record.map_or(&[][..], |record| &record.steps);
        let since = self.steps.into_iter().filter(|step| step.date > known);
        let mut outputs = 0;
        let needed = |step: &PassedStep| {
            let is_needed = outputs < many.saturating_add(lag);
            outputs += usize::from(step.output);
            is_needed
        };
        let steps: Vec<PassedStep> = before.iter().cloned().chain(since).take_while(needed).collect();
        let summary = record.map_or_else(Summary::default, |record| record.summary.clone());
        Some(Record {
            owner: self.owner,
            settings: record.map_or_else(Settings::default, |record| record.settings.clone()),
            date: steps.last().map_or(known, |step| step.date),
            steps,
            ended: false,
            written: many,
            summary,
            failed: Vec::new(),
            full: false,
            light: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn owner() -> Owner {
        Owner { series: "a".into(), generation: 1, tile: (0, 0) }
    }

    /// A step on every day, output on even ones.
    fn steps(days: std::ops::Range<i32>) -> Vec<PassedStep> {
        let step = |day: i32| PassedStep {
            date: Date::from_days(day),
            output: day % 2 == 0,
            instruments: vec![day as usize],
            groups: BTreeMap::new(),
        };
        days.map(step).collect()
    }

    fn shown(days: std::ops::Range<i32>, written: usize) -> Shown {
        let (since, date) = (Date::from_days(days.start - 1), Date::from_days(days.end - 1));
        Shown { owner: owner(), since, date, written, steps: steps(days), skipped: Vec::new() }
    }

    #[test]
    fn what_was_passed_is_put_together() {
        let first = Date::from_days(-1);
        let known = shown(0..5, 3).after(None, first, (3, 0)).unwrap();
        assert_eq!((known.date, known.written), (Date::from_days(4), 3));
        assert_eq!(known.steps, steps(0..5));
        // After a checkpoint, which may be later than what is listed begins.
        for begin in [5, 3] {
            let all = shown(begin..9, 5).after(Some(&known), first, (5, 0)).unwrap();
            assert_eq!((all.date, &all.steps), (Date::from_days(8), &steps(0..9)));
        }
        // No more than is needed: dates that never became visible do not count.
        assert_eq!(shown(5..9, 5).after(Some(&known), first, (4, 0)).unwrap().date, Date::from_days(6));
        assert_eq!(shown(5..9, 5).after(Some(&known), first, (4, 1)).unwrap().date, Date::from_days(8));
        // What was skipped after the checkpoint may be readable now.
        let skipping = |day: i32| Shown { skipped: vec![(Date::from_days(day), 7)], ..shown(3..9, 5) };
        assert!(skipping(4).after(Some(&known), first, (5, 0)).is_some());
        assert_eq!(skipping(5).after(Some(&known), first, (5, 0)), None);
        // A gap after the checkpoint, too few dates, no checkpoint where there was one.
        assert_eq!(shown(6..9, 5).after(Some(&known), first, (5, 0)), None);
        assert_eq!(shown(5..9, 5).after(Some(&known), first, (6, 0)), None);
        assert_eq!(shown(5..9, 5).after(None, first, (5, 0)), None);
    }
}
