//! What a run does to its tiles: which are done, where the others begin, on which day all take their light states.

use std::collections::BTreeSet;
use std::path::Path;

use super::checkpoint::StateFolder;
use super::damage::Damage;
use super::light::LightDay;
use super::start::{Again, Starts, TileStart};
use super::summary::Summary;
use super::work::Work;
use super::{Checkpoint, DiskSpace, Fusion};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::series::{ExistingSeries, FusionSink};
use crate::storage::Place;

/// What a run does to its tiles.
pub(super) struct Assignment {
    pub(super) work: Vec<Work>,
    /// Tiles that are done already, each with the dates that it has on disk.
    pub(super) done: Vec<(usize, usize)>,
    /// What was learned of them.
    pub(super) summary: Summary,
    /// The date of the earliest late observation.
    pub(super) late: Option<Date>,
    /// What is not held as it was written.
    pub(super) damage: Damage,
}

impl Assignment {
    /// What is to be done with `tiles`, which are sorted; `again` says what may be replayed.
    pub(super) fn new(
        fusion: &Fusion,
        (folder, place, sink): (&StateFolder, &Path, &dyn FusionSink),
        existing: Option<&ExistingSeries>,
        tiles: &[usize],
        again: Again,
    ) -> Result<Self> {
        let policy = fusion.checkpoint();
        let mut starts = Starts::new(fusion, (folder, place, sink), existing, again)?;
        let (mut work, mut done, mut summary) = (Vec::new(), Vec::new(), Summary::default());
        let mut lights = LightDay::new(fusion);
        let mut mixed = false;
        for (index, tile) in fusion.tiles() {
            let own = tiles.binary_search(&index).is_ok();
            // Of tiles that are not its own a shard must only know from which day light states are taken.
            if !own && policy != Checkpoint::Light {
                continue;
            }
            let start = starts.start_of(&tile, own)?;
            if let TileStart::Done(record) = start {
                mixed |= policy != Checkpoint::Off && record.full != (policy == Checkpoint::Full);
                lights.done(&record, &tile);
                if own {
                    done.push((index, record.written));
                    summary.merge(record.summary);
                }
                continue;
            }
            let date = match &start {
                TileStart::Fresh | TileStart::Done(_) => fusion.before_first(),
                TileStart::Full(file) => file.date,
                TileStart::Light { date, .. } => *date,
            };
            lights.begins(date, &tile);
            if own {
                let records = starts.records(&tile);
                let first = fusion.steps.partition_point(|(step, _)| *step <= date);
                work.push((date, Work { start, first, records, ..Work::fresh(index, tile) }));
            }
        }
        if mixed && !work.is_empty() {
            let problem = format!(
                "tiles that are done have checkpoints of another kind than the {policy} ones that this run would keep; finish it \
                 with the run.checkpoint that it was begun with"
            );
            return Err(Error::CannotContinue { path: place.to_path_buf(), problem, remedy: None });
        }
        let day = if policy == Checkpoint::Light { lights.choose(&starts) } else { None };
        let take = |(date, mut work): (_, Work)| {
            // What a tile passes it takes, but for the light state that it begins with.
            let begins_with = matches!(work.start, TileStart::Light { .. }) && day == Some(date);
            work.capture = day.filter(|day| *day >= date && !begins_with);
            work.light = day;
            work
        };
        let work = work.into_iter().map(take).collect();
        Ok(Self { work, done, summary, late: starts.late, damage: starts.damage })
    }

    /// Refuses a run from checkpoints of which one is damaged, before any date is hidden.
    pub(super) fn check_states(&self, fusion: &Fusion, folder: &StateFolder) -> Result<()> {
        let mut lights = BTreeSet::new();
        for work in &self.work {
            match &work.start {
                TileStart::Full(file) => file.check()?,
                TileStart::Light { date, .. } => drop(lights.insert(*date)),
                TileStart::Fresh | TileStart::Done(_) => {}
            }
        }
        for date in lights {
            fusion.tiles().try_for_each(|(_, tile)| folder.light(tile.index, date).check())?;
        }
        Ok(())
    }

    /// Refuses a run whose results may not fit on the disk: what is still to be written, before compression, by `shards` processes
    /// like this one. Checkpoints are `beside` the store, in the same storage.
    pub(super) fn check_space(
        &self,
        fusion: &Fusion,
        (place, beside): (&Path, &Place),
        visible: usize,
        shards: usize,
    ) -> Result<()> {
        let plan = &fusion.plan;
        let Some(DiskSpace { free_bytes }) = plan.disk(beside)? else { return Ok(()) };
        let cells = self.work.iter().map(|work| work.tile.region.len() as u64).fold(0, u64::saturating_add);
        let dates = (fusion.output.len() - visible) as u64;
        let (rows, cols) = plan.target_shape;
        let cell_bytes = plan.store_bytes / (rows * cols * plan.dates).max(1) as u64;
        let output = cells.saturating_mul(dates).saturating_mul(cell_bytes);
        // A tile that has a checkpoint replaces it; one at a time is there twice.
        let fresh = self.work.iter().filter(|work| matches!(work.start, TileStart::Fresh)).count().max(1) as u64;
        let whole = match plan.checkpoint {
            Checkpoint::Full => plan.full_checkpoint_bytes,
            _ => plan.light_checkpoint_bytes,
        };
        let kept = if plan.checkpoint == Checkpoint::Off { 0 } else { fusion.options.keep_checkpoints as u128 };
        let share = |bytes: u64, tiles: u128| (u128::from(bytes) * tiles / plan.tiles.max(1) as u128) as u64;
        // The tile at work is saved as a whole on the way.
        let checkpoint =
            share(whole, u128::from(fresh) * kept).saturating_add(share(plan.full_checkpoint_bytes, kept.min(1)));
        let needed_bytes = output.saturating_add(checkpoint).saturating_mul(shards as u64);
        if needed_bytes > free_bytes {
            return Err(Error::DiskSpace { path: place.to_path_buf(), needed_bytes, free_bytes });
        }
        Ok(())
    }
}
