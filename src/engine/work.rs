//! One tile's part of a run: its start, its batches, its checkpoints.

use std::ops::Range;
use std::time::Instant;

use super::checkpoint::{Keeping, Owner, PassedStep, Record, StateFile, StateFolder};
use super::light::light_prior;
use super::pipeline::{Halt, Stages};
use super::start::TileStart;
use super::summary::Summary;
use super::tile::{TileState, Workers};
use super::{Checkpoint, Fusion};
use crate::error::Result;
use crate::geometry::{Date, Rect, Tile};
use crate::series::Saved;

/// A tile to be run.
pub(super) struct Work {
    /// Its position among all tiles.
    pub(super) index: usize,
    pub(super) tile: Tile,
    pub(super) start: TileStart,
    /// The first step to run.
    pub(super) first: usize,
    /// The date on which the light state is saved, unless it exists already.
    pub(super) capture: Option<Date>,
    /// The date of the light state to which its last record will refer.
    pub(super) light: Option<Date>,
    /// Existing records, the newest first.
    pub(super) records: Vec<StateFile>,
}

impl Work {
    /// A tile that starts from the prior.
    pub(super) fn fresh(index: usize, tile: Tile) -> Self {
        Self { index, tile, start: TileStart::Fresh, first: 0, capture: None, light: None, records: Vec::new() }
    }

    /// Its batches, as ranges of steps. One batch ends where the light state is saved.
    pub(super) fn batches(&self, fusion: &Fusion) -> Vec<Range<usize>> {
        let end = fusion.steps.len();
        let cut = self.capture.map_or(self.first, |day| fusion.steps.partition_point(|(date, _)| *date <= day));
        let cut = cut.clamp(self.first, end);
        let batches = |from: usize, to: usize| {
            let step = fusion.plan.batch_dates;
            (from..to).step_by(step).map(move |first| first..(first + step).min(to))
        };
        batches(self.first, cut).chain(batches(cut, end)).collect()
    }

    /// The state of the tile at its start.
    fn state(&self, fusion: &Fusion, keeping: Option<&Keeping>) -> Result<(TileState, Vec<PassedStep>)> {
        let begin = || TileState::first(fusion, self.tile.clone());
        match (&self.start, keeping) {
            (TileStart::Full(file), _) => {
                let mut state = begin()?;
                let record = file.load(fusion, &mut state)?;
                state.resume_after(fusion, record.date, record.summary);
                Ok((state, record.steps))
            }
            (TileStart::Light { date, record, learned }, Some(keeping)) => {
                let Record { date: passed, mut steps, mut summary, mut failed, .. } = record.record()?;
                summary.forget_after(*learned);
                if *learned < passed {
                    // Failed windows are tried again with the late data, or lack what they wrote before they failed.
                    summary.forget_failures();
                    failed.clear();
                }
                steps.retain(|step| step.date <= *learned);
                let owner = keeping.owner(self.tile.index);
                let prior = |extent: &Rect| light_prior(fusion, (&keeping.folder, &owner), *date, extent);
                let mut state = TileState::new(fusion, self.tile.clone(), *date, prior)?;
                state.replay_until(*learned, summary, &failed);
                Ok((state, steps))
            }
            _ => Ok((begin()?, Vec::new())),
        }
    }

    /// Runs the tile to the end of the series and returns its statistics.
    pub(super) fn run(
        &self,
        fusion: &Fusion,
        keeping: Option<&Keeping>,
        stages: &mut Stages<'_>,
        workers: &Workers,
        blocks: &mut usize,
    ) -> Result<Summary, Halt> {
        let started = Instant::now();
        let (mut state, passed) = fusion.pool.install(|| self.state(fusion, keeping))?;
        stages.timing.setup += started.elapsed();
        let mut saved = Instant::now();
        let mut light = None;
        let mut records = self.records.clone();
        let (before, observations) = (stages.progress.dates.0, stages.progress.observations);
        for steps in self.batches(fusion) {
            self.capture(fusion, keeping, &state, &mut light)?;
            let batch = stages.next_batch()?;
            let started = Instant::now();
            let within = stages.within(steps.len());
            let made = fusion.pool.install(|| state.advance(fusion, &batch, workers, &within))?;
            let skipped = batch.iter().flat_map(|reading| reading.skipped.iter().map(|(k, _)| (reading.date, *k)));
            let skipped = skipped.collect::<Vec<_>>();
            drop(batch);
            stages.timing.filter += started.elapsed();
            *blocks += made.len();
            let output_dates = state.output_dates(fusion);
            let last = steps.end == fusion.steps.len();
            stages.skipped(self.tile.index, skipped)?;
            stages.write(self.index, made, if last { fusion.output.len() } else { output_dates })?;
            stages.progress.dates.0 = before + steps.end - self.first;
            stages.progress.observations = observations + state.observations;
            stages.report_progress();
            if let Some(keeping) = keeping
                && !last
                && !state.replays(fusion)
                && fusion.checkpoint() != Checkpoint::Off
                && saved.elapsed() >= fusion.options.checkpoint_interval
            {
                let owner = keeping.owner(self.tile.index);
                let record = Self::record(fusion, owner, (&state, &passed), (false, true));
                Self::save(fusion, &keeping.folder, stages, (&record, &state), &mut records)?;
                saved = Instant::now();
            }
        }
        self.capture(fusion, keeping, &state, &mut light)?;
        let Some(keeping) = keeping else { return Ok(state.take_summary()) };
        let full = fusion.checkpoint() == Checkpoint::Full;
        let summary = state.take_summary();
        let record = Self::record(fusion, keeping.owner(self.tile.index), (&state, &passed), (true, full));
        let record = Record { light: self.light, summary, ..record };
        Self::save(fusion, &keeping.folder, stages, (&record, &state), &mut records)?;
        Ok(record.summary)
    }

    /// Writes a checkpoint once all results that it refers to are on disk, and removes outdated ones.
    fn save(
        fusion: &Fusion,
        folder: &StateFolder,
        stages: &mut Stages<'_>,
        (record, state): (&Record, &TileState),
        records: &mut Vec<StateFile>,
    ) -> Result<(), Halt> {
        stages.flush()?;
        let started = Instant::now();
        let file = folder.save(fusion, record, state)?;
        // Newer records were skipped: their dates have been replayed since.
        let (newer, older): (Vec<_>, Vec<_>) =
            records.drain(..).filter(|other| *other != file).partition(|other| other.date > file.date);
        let dropped = newer.into_iter().chain(older.iter().skip(fusion.options.keep_checkpoints - 1).cloned());
        for file in dropped {
            file.remove()?;
        }
        stages.saved(file.tile, Saved { generation: record.owner.generation, date: file.date })?;
        records.push(file);
        records.extend(older.into_iter().take(fusion.options.keep_checkpoints - 1));
        stages.timing.checkpoint += started.elapsed();
        Ok(())
    }

    /// Saves the light state when its day is reached.
    fn capture(
        &self,
        fusion: &Fusion,
        keeping: Option<&Keeping>,
        state: &TileState,
        taken: &mut Option<Date>,
    ) -> Result<()> {
        let (Some(day), Some(keeping), None) = (self.capture, keeping, *taken) else { return Ok(()) };
        let next = fusion.steps.get(state.next_step).map(|(date, _)| *date);
        if next.is_none_or(|next| next > day) {
            let light = fusion.pool.install(|| state.light(fusion, day));
            keeping.folder.save_light(&fusion.settings, &keeping.owner(self.tile.index), &light)?;
            *taken = Some(day);
        }
        Ok(())
    }

    /// The record of a tile at this point, and whether its series ended and its states follow.
    fn record(
        fusion: &Fusion,
        owner: Owner,
        (state, passed): (&TileState, &[PassedStep]),
        (ended, full): (bool, bool),
    ) -> Record {
        let now = &fusion.steps[..state.next_step];
        let date = now.last().map_or(fusion.before_first(), |(date, _)| *date);
        let last = passed.last().map(|step| step.date);
        let known = last.map_or(0, |last| now.partition_point(|(date, _)| *date <= last));
        Record {
            owner,
            settings: fusion.settings.clone(),
            date: last.map_or(date, |last| date.max(last)),
            steps: passed.iter().cloned().chain(fusion.passed_steps(known..now.len())).collect(),
            ended,
            written: if ended { fusion.output.len() } else { state.output_dates(fusion) },
            summary: state.summary(),
            failed: state.failed(),
            full,
            light: None,
        }
    }
}
