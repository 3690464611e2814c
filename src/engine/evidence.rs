//! What visible dates are made from is noted before they become visible, as far as no checkpoint says it.

use std::collections::BTreeMap;

use super::Fusion;
use super::checkpoint::{Keeping, PassedStep, Shown, StateFile};
use super::steps::Step;
use crate::error::Result;
use crate::geometry::Date;

/// The tiles at work of a process that makes dates visible.
pub(super) struct Evidence<'a> {
    fusion: &'a Fusion,
    keeping: &'a Keeping,
    tiles: BTreeMap<(usize, usize), TileEvidence>,
}

#[derive(Default)]
struct TileEvidence {
    /// Steps, from the first, that a checkpoint lists.
    covered: usize,
    /// Slices that could not be read since.
    skipped: Vec<(Date, usize)>,
    file: Option<StateFile>,
}

impl<'a> Evidence<'a> {
    /// Of tiles, each with the number of steps that its checkpoint lists.
    pub(super) fn new(
        fusion: &'a Fusion,
        keeping: &'a Keeping,
        tiles: impl Iterator<Item = ((usize, usize), usize)>,
    ) -> Self {
        let tiles = tiles.map(|(tile, covered)| (tile, TileEvidence { covered, ..TileEvidence::default() }));
        Self { fusion, keeping, tiles: tiles.collect() }
    }

    /// A tile goes on without some slices.
    pub(super) fn skip(&mut self, tile: (usize, usize), slices: Vec<(Date, usize)>) {
        self.tiles.entry(tile).or_default().skipped.extend(slices);
    }

    /// A checkpoint of a tile lists all steps up to a date.
    pub(super) fn saved(&mut self, tile: (usize, usize), date: Date) {
        let tile = self.tiles.entry(tile).or_default();
        tile.covered = self.fusion.steps.partition_point(|(step, _)| *step <= date);
        tile.skipped.retain(|(skipped, _)| *skipped > date);
    }

    /// Notes from what the first `dates` dates of the output axis are made, which are about to become visible.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when it cannot be written.
    pub(super) fn note(&mut self, dates: usize) -> Result<()> {
        let Self { fusion, keeping, tiles } = self;
        let passed = fusion.steps_behind(dates);
        for (&tile, evidence) in tiles.iter_mut().filter(|(_, evidence)| evidence.covered < passed) {
            let covered = evidence.covered;
            let since = covered.checked_sub(1).map_or(fusion.before_first(), |last| fusion.steps[last].0);
            let steps: Vec<PassedStep> = fusion.passed_steps(covered..passed).collect();
            let date = steps.last().map_or(since, |step| step.date);
            let skipped = evidence.skipped.iter().filter(|(skipped, _)| *skipped <= date).copied().collect();
            let shown = Shown { owner: keeping.owner(tile), since, date, written: dates, steps, skipped };
            let file = keeping.folder.save_shown(&shown)?;
            if let Some(before) = evidence.file.replace(file.clone()).filter(|before| *before != file) {
                before.remove()?;
            }
        }
        Ok(())
    }
}

impl Fusion {
    /// Number of steps whose observations the first `dates` dates of the output axis have seen.
    fn steps_behind(&self, dates: usize) -> usize {
        match (dates + self.lag).checked_sub(1).and_then(|last| self.output.get(last)) {
            Some(last) => self.steps.partition_point(|(date, _)| date <= last),
            // Nothing is waited for beyond the end.
            None => self.steps.len(),
        }
    }

    /// Some steps, as a checkpoint lists them.
    pub(super) fn passed_steps(&self, steps: std::ops::Range<usize>) -> impl Iterator<Item = PassedStep> + '_ {
        let passed = |(date, step): &(Date, Step)| PassedStep {
            date: *date,
            output: step.output.is_some(),
            instruments: step.instruments.clone(),
            groups: self.groups_on(*date, &step.instruments),
        };
        self.steps[steps].iter().map(passed)
    }
}
