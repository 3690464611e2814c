//! What a store no longer holds of a series as it was written, so that its tiles are processed again.

use super::Fusion;
use super::checkpoint::Record;
use crate::error::Result;
use crate::geometry::Date;
use crate::series::{ExistingSeries, FusionSink, HeldBlocks, SeriesLayout};

/// Chunks that are missing or changed, of all tiles looked at.
pub(super) struct Damage {
    layout: SeriesLayout,
    /// Dates of the output axis that a result waits for.
    lag: usize,
    /// The last date of the run.
    pub(super) last: Option<Date>,
    /// Dates that readers see and that no run writes again, with or without checkpoints that have passed them.
    pub(super) shown: usize,
    /// All of them.
    pub(super) found: HeldBlocks,
}

impl Damage {
    pub(super) fn new(fusion: &Fusion, existing: Option<&ExistingSeries>) -> Self {
        let mut layout = fusion.layout();
        if let Some(identity) = existing.and_then(|existing| existing.identity.clone()) {
            layout.identity = identity;
        }
        let last = fusion.steps.last().map(|(date, _)| *date);
        // Where dates are added, those that waited for the lag are written again.
        let shown = existing.map_or(0, |existing| {
            if fusion.output.len() > existing.planned.0 { existing.settled } else { existing.visible }
        });
        Self { layout, lag: fusion.lag_asked, last, shown, found: HeldBlocks::default() }
    }

    /// What the sink holds of the dates that readers see, and that the newest record of a tile needs, if there is one.
    pub(super) fn look(
        &mut self,
        sink: &dyn FusionSink,
        tile: (usize, usize),
        record: Option<&Record>,
    ) -> Result<HeldBlocks> {
        let needed = record.map_or(0, |record| self.needed(record));
        let mut held = sink.held(&self.layout, tile, needed.max(self.shown))?;
        if let Some((first, record)) = held.first.zip(record) {
            held.first = Some(first.min(self.trusted(&held, record)));
        }
        self.found.merge(held.clone());
        Ok(held)
    }

    /// Dates of a tile whose chunks are of the series' newest writing if they are as recorded. Where the store is a copy that
    /// was made while the series grew, its records may be older than the checkpoint, and so may chunks be that were
    /// written again in between.
    fn trusted(&self, held: &HeldBlocks, record: &Record) -> usize {
        match held.saved {
            Some(saved) if saved.generation >= record.owner.generation => {
                let seen = self.layout.dates.partition_point(|date| *date <= saved.date);
                if saved.date < record.date { seen.saturating_sub(self.lag) } else { self.layout.dates.len() }
            }
            _ => 0,
        }
    }

    /// Dates from this one on are made again, because it is not known from what they were made.
    pub(super) fn unknown(&mut self, from: usize) {
        self.found.first = Some(self.found.first.map_or(from, |first| first.min(from)));
    }

    /// Of the dates that a record says are written, those that a run from its states does not write again: with a lag,
    /// the last dates of a series that ended are, where more dates follow.
    pub(super) fn needed(&self, record: &Record) -> usize {
        let continues = record.ended && self.last.is_some_and(|last| record.date < last);
        if continues { record.written.saturating_sub(self.lag) } else { record.written }
    }
}
