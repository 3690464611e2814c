use std::path::Path;
use std::time::Instant;

use super::checkpoint::{Checkpoint, PassedStep, Record, StateFile, StateFolder};
use super::fusion::names;
use super::light::light_prior;
use super::lock::Lock;
use super::pipeline::{Halt, Reads, Stages, Written, drive};
use super::progress::Progress;
use super::start::{Starts, TileStart};
use super::summary::Summary;
use super::tile::{TileState, Workers};
use super::{Fusion, Report, Shard};
use crate::error::{Error, Result};
use crate::geometry::{Date, Tile};
use crate::sink::{ExistingSeries, FusionSink};

/// How a run relates to the series that its sink may hold already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// A new series; a sink that holds one is refused.
    #[default]
    New,
    /// Finishes an interrupted run, to the same bytes as if it had not been interrupted. Begins a new series where there is none.
    Resume,
    /// Adds the dates that the series does not have yet, to the same bytes as one run over all. Begins a new series where there
    /// is none.
    Append,
}

/// A run of a [`Fusion`] into a sink, with all its choices; [`Fusion::run`] is the plain one.
///
/// ```no_run
/// # fn tomorrow(fusion: rasterfuse::Fusion) -> rasterfuse::Result<()> {
/// use rasterfuse::engine::Start;
/// use rasterfuse::sink::ZarrSink;
///
/// let report = fusion
///     .job()
///     .start(Start::Append)
///     .progress(|progress| eprintln!("{progress}"))
///     .run(&mut ZarrSink::create("fused.zarr"))?;
/// # Ok(())
/// # }
/// ```
pub struct Job<'a> {
    fusion: &'a Fusion,
    start: Start,
    replay: bool,
    shard: Option<Shard>,
    check_disk: bool,
    progress: Option<Box<dyn Fn(&Progress) + Sync + 'a>>,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { start, replay, shard, .. } = self;
        f.debug_struct("Job")
            .field("start", start)
            .field("replay", replay)
            .field("shard", shard)
            .finish_non_exhaustive()
    }
}

/// A tile that is to be run.
struct Work {
    /// Its position among all tiles.
    index: usize,
    tile: Tile,
    start: TileStart,
    /// The step it begins with.
    first: usize,
    /// The date on which the light state is taken.
    capture: Option<Date>,
    /// Records that are there already, the newest first.
    records: Vec<StateFile>,
}

/// What a run does to its tiles.
struct Assignment {
    work: Vec<Work>,
    /// By tile of the whole run; `None` where another process has it, or it is not done.
    done: Vec<Option<Record>>,
    /// The earliest date that came late.
    late: Option<Date>,
}

impl<'a> Job<'a> {
    pub(super) fn new(fusion: &'a Fusion) -> Self {
        Self { fusion, start: Start::New, replay: false, shard: None, check_disk: true, progress: None }
    }

    /// Begins, resumes or appends; default: begins.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Whether dates that came late are replayed from the last checkpoint before them, and tiles without a checkpoint from
    /// the beginning; default: both are refused. What readers saw of the dates since is hidden until the run ends.
    #[must_use]
    pub fn replay(mut self, replay: bool) -> Self {
        self.replay = replay;
        self
    }

    /// Runs one part of the tiles, beside other processes that run the others into the same store. Nothing becomes
    /// visible before [`finalize`](Self::finalize).
    #[must_use]
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
        self
    }

    /// Whether a run is refused whose results may not fit on the disk; default: yes.
    #[must_use]
    pub fn check_disk(mut self, check: bool) -> Self {
        self.check_disk = check;
        self
    }

    /// Calls back from time to time: after every batch, and every ten seconds while waiting for slices.
    #[must_use]
    pub fn progress(mut self, callback: impl Fn(&Progress) + Sync + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Drives the fusion into the sink. What it gives is the report of the whole series, of a shard that of its tiles.
    ///
    /// # Errors
    /// The first error of a source, a window or the sink; [`Error::StoreExists`], [`Error::SettingsDiffer`],
    /// [`Error::CannotContinue`], [`Error::LateDate`], [`Error::Checkpoint`], [`Error::Locked`], [`Error::DiskSpace`]. What was
    /// committed before it stays readable, and can be resumed.
    pub fn run(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        let Some(folder) = sink.state_folder().map(StateFolder::new) else {
            return self.run_without_state(sink);
        };
        let place = sink.place();
        if self.start == Start::New
            && self.shard.is_none()
            && let Some(existing) = sink.existing()?
        {
            return Err(Error::StoreExists { path: place, state: existing.describe() });
        }
        let what = place.display().to_string();
        let run_lock = folder.path().join("run.lock");
        let _run = match self.shard {
            None => Lock::exclusive(&run_lock, &what)?,
            Some(_) => Lock::shared(&run_lock, &what)?,
        };
        // Shards begin one after the other.
        let beginning = Lock::wait(&folder.path().join("begin.lock"))?;
        let existing = sink.existing()?;
        if existing.is_none() {
            folder.clear()?;
        }
        let layout = fusion.layout_for(sink);
        let visible = self.visible(existing.as_ref(), sink)?;
        let own: Vec<usize> = match self.shard {
            None => (0..fusion.tiling.tile_count()).collect(),
            Some(shard) => shard.tiles(&fusion.tiling),
        };
        let assigned = self.assign(&folder, existing.as_ref(), &own)?;
        let finished = existing.as_ref().is_some_and(|existing| existing.finished);
        if assigned.work.is_empty() && finished && visible == fusion.output.len() {
            return Ok(report(fusion, assigned.done.iter().flatten()));
        }
        let visible = match assigned.late {
            // With a lag, dates before the late one rest on it as well.
            Some(late) => {
                let before = fusion.output.partition_point(|date| *date < late);
                visible.min(before.saturating_sub(fusion.lag))
            }
            None => visible,
        };
        if self.check_disk {
            self.check_space(&place, visible, &assigned.work)?;
        }
        match &existing {
            None => sink.begin(&layout)?,
            // A shard that comes later must not hide what is about to be shown, nor speak for the others.
            Some(existing)
                if self.shard.is_some() && existing.planned.0 == layout.dates.len() && !existing.finished =>
            {
                sink.join(&layout)?;
            }
            Some(_) => sink.reopen(&layout, visible)?,
        }
        drop(beginning);
        let _tiles = match self.shard {
            None => Vec::new(),
            Some(_) => self.lock_tiles(&folder, &assigned.work)?,
        };
        let mut written =
            Written { dates: vec![visible; fusion.tiling.tile_count()], visible, commits: self.shard.is_none() };
        for (dates, record) in written.dates.iter_mut().zip(&assigned.done) {
            *dates = record.as_ref().map_or(*dates, |record| record.written.max(visible));
        }
        let (mut records, mut done) = (assigned.done, Report::default());
        if !assigned.work.is_empty() {
            let (made, timing, blocks) = self.drive(sink, Some(&folder), written, &assigned.work)?;
            for (work, record) in assigned.work.iter().zip(made) {
                records[work.index] = Some(record);
            }
            (done.timing, done.blocks) = (timing, blocks);
        } else if self.shard.is_none() {
            sink.commit(fusion.output.len())?;
        }
        let report = report(fusion, records.iter().flatten());
        let report = Report { timing: done.timing, blocks: done.blocks, ..report };
        if self.shard.is_none() {
            sink.finish(&report)?;
            self.tidy(&folder)?;
        }
        Ok(report)
    }

    /// Makes visible what all shards have written, and ends the series.
    ///
    /// # Errors
    /// [`Error::Unfinished`] naming the tiles that are missing, besides those of [`run`](Self::run).
    pub fn finalize(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        let place = sink.place();
        let nothing = |problem: &str| Error::CannotContinue { path: place.clone(), problem: problem.into() };
        let folder = sink.state_folder().map(StateFolder::new).ok_or_else(|| nothing("this sink has no shards"))?;
        let existing = sink.existing()?.ok_or_else(|| nothing("no shard has begun it"))?;
        let what = place.display().to_string();
        let _run = Lock::exclusive(&folder.path().join("run.lock"), &what)?;
        self.check_same(&existing, sink)?;
        self.check_dates(&existing, sink)?;
        let all: Vec<usize> = (0..fusion.tiling.tile_count()).collect();
        let assigned = self.assign(&folder, Some(&existing), &all)?;
        if !assigned.work.is_empty() {
            let missing = assigned.work.iter().map(|work| work.tile.index).collect();
            return Err(Error::Unfinished { path: place, missing, tiles: all.len() });
        }
        let report = report(fusion, assigned.done.iter().flatten());
        if !existing.finished {
            sink.reopen(&fusion.layout_for(sink), existing.visible)?;
            sink.commit(fusion.output.len())?;
            sink.finish(&report)?;
            self.tidy(&folder)?;
        }
        Ok(report)
    }

    /// Into a sink that keeps no checkpoints.
    fn run_without_state(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        if self.start != Start::New || self.shard.is_some() {
            let problem = "this sink keeps no checkpoints: it takes whole new series only".into();
            return Err(Error::CannotContinue { path: sink.place(), problem });
        }
        sink.begin(&fusion.layout_for(sink))?;
        let tiles = (0..fusion.tiling.tile_count()).filter_map(|index| Some((index, fusion.tiling.tile(index)?)));
        let work: Vec<Work> =
            tiles.map(|(index, tile)| Work { index, tile, start: TileStart::Fresh, first: 0, capture: None, records: Vec::new() }).collect();
        let written = Written { dates: vec![0; work.len()], visible: 0, commits: true };
        let (records, timing, blocks) = self.drive(sink, None, written, &work)?;
        let report = Report { timing, blocks, ..report(fusion, records.iter()) };
        sink.finish(&report)?;
        Ok(report)
    }

    /// Dates that stay visible while the run goes on.
    fn visible(&self, existing: Option<&ExistingSeries>, sink: &dyn FusionSink) -> Result<usize> {
        let Some(existing) = existing else { return Ok(0) };
        self.check_same(existing, sink)?;
        if self.start != Start::Append {
            self.check_dates(existing, sink)?;
            return Ok(existing.visible);
        }
        let output = &self.fusion.output;
        let (planned, end) = existing.planned;
        if output.len() < planned || planned.checked_sub(1).is_some_and(|last| output[last] != end) {
            let now = describe_dates(output);
            let problem = format!(
                "it has {planned} dates to {end}, which are not the first of those of this run ({now}); check [time]"
            );
            return Err(Error::CannotContinue { path: sink.place(), problem });
        }
        Ok(if output.len() > planned { existing.visible.min(existing.settled) } else { existing.visible })
    }

    fn check_same(&self, existing: &ExistingSeries, sink: &dyn FusionSink) -> Result<()> {
        let given = self.fusion.layout_for(sink).settings;
        let differences = existing.settings.differences(&given);
        if differences.is_empty() { Ok(()) } else { Err(Error::SettingsDiffer { path: sink.place(), differences }) }
    }

    /// Refuses other dates than were planned.
    fn check_dates(&self, existing: &ExistingSeries, sink: &dyn FusionSink) -> Result<()> {
        let output = &self.fusion.output;
        let (planned, end) = existing.planned;
        if output.len() == planned && output.last() == Some(&end) {
            return Ok(());
        }
        let now = describe_dates(output);
        let problem =
            format!("it was planned for {planned} dates to {end}, this run is for {now}; --append adds dates");
        Err(Error::CannotContinue { path: sink.place(), problem })
    }

    /// What is to be done with `tiles`.
    fn assign(&self, folder: &StateFolder, existing: Option<&ExistingSeries>, tiles: &[usize]) -> Result<Assignment> {
        let fusion = self.fusion;
        let append = self.start == Start::Append;
        let mut starts = Starts::new(fusion, folder, existing, append, self.replay)?;
        let mut done = vec![None; fusion.tiling.tile_count()];
        let mut work = Vec::new();
        let end = fusion.steps.last().map_or(fusion.before_first(), |(date, _)| *date);
        for &index in tiles {
            let Some(tile) = fusion.tiling.tile(index) else { continue };
            let start = starts.of(&tile)?;
            let date = match &start {
                TileStart::Done(record) => {
                    done[index] = Some((**record).clone());
                    continue;
                }
                TileStart::Fresh => fusion.before_first(),
                TileStart::Full(file) => file.date,
                TileStart::Light { date, .. } => *date,
            };
            let capture = (fusion.checkpoint() == Checkpoint::Light).then(|| {
                let wanted = end + -i32::try_from(fusion.replay_days).unwrap_or(i32::MAX / 2);
                wanted.max(date)
            });
            // The light state that the tile begins with is there already.
            let capture = capture.filter(|day| !matches!(start, TileStart::Light { date, .. } if date == *day));
            let first = fusion.steps.partition_point(|(step, _)| *step <= date);
            let records = starts.records(&tile);
            work.push(Work { index, tile, start, first, capture, records });
        }
        Ok(Assignment { work, done, late: starts.late })
    }

    /// Refuses a run whose results may not fit on the disk: what is still to be written, before compression.
    fn check_space(&self, place: &Path, visible: usize, work: &[Work]) -> Result<()> {
        let (fusion, plan) = (self.fusion, &self.fusion.plan);
        let free_bytes = plan.disk(place)?.free_bytes;
        let bytes = |index: usize| fusion.tiling.tile(index).map_or(0, |tile| tile.region.len() as u64);
        let cells = work.iter().map(|work| bytes(work.index)).fold(0, u64::saturating_add);
        let dates = (fusion.output.len() - visible) as u64;
        let value = 2 * size_of::<f32>() as u64 * fusion.bands.len() as u64;
        let output = cells.saturating_mul(dates).saturating_mul(value);
        // A tile that has a checkpoint replaces it; one at a time is there twice.
        let fresh = work.iter().filter(|work| matches!(work.start, TileStart::Fresh)).count().max(1) as u64;
        let whole = match plan.checkpoint {
            Checkpoint::Full => plan.full_checkpoint_bytes,
            _ => plan.light_checkpoint_bytes,
        };
        let checkpoint = (u128::from(whole) * u128::from(fresh) / plan.tiles.max(1) as u128) as u64;
        let needed_bytes = output.saturating_add(checkpoint);
        if needed_bytes > free_bytes {
            return Err(Error::DiskSpace { path: place.to_path_buf(), needed_bytes, free_bytes });
        }
        Ok(())
    }

    fn lock_tiles(&self, folder: &StateFolder, work: &[Work]) -> Result<Vec<Lock>> {
        let lock = |work: &Work| {
            let (row, col) = work.tile.index;
            Lock::exclusive(&folder.path().join(format!("tile-{row}-{col}.lock")), &format!("tile [{row}, {col}]"))
        };
        work.iter().map(lock).collect()
    }

    /// Removes what nobody will begin from any more.
    fn tidy(&self, folder: &StateFolder) -> Result<()> {
        let fusion = self.fusion;
        if fusion.checkpoint() == Checkpoint::Off {
            return folder.remove();
        }
        let list = folder.list()?;
        // The oldest of the newest is what the next run may begin from.
        let common = list.lights.values().filter_map(|files| Some(files.first()?.date)).min();
        for file in list.lights.values().flatten().filter(|file| common.is_some_and(|date| file.date < date)) {
            file.remove()?;
        }
        for tile in (0..fusion.tiling.tile_count()).filter_map(|index| fusion.tiling.tile(index)) {
            folder.unlock(tile.index)?;
        }
        Ok(())
    }

    /// Runs tiles one after the other. Gives their records, the time it took and the blocks put out.
    fn drive(
        &self,
        sink: &mut dyn FusionSink,
        folder: Option<&StateFolder>,
        written: Written,
        work: &[Work],
    ) -> Result<(Vec<Record>, super::Timing, usize)> {
        let fusion = self.fusion;
        let reads = Reads { tiles: work.iter().map(|work| (work.tile.clone(), work.batches(fusion))).collect() };
        let callback = self.progress.as_deref();
        let filter = |stages: &mut Stages<'_>| {
            stages.progress.tiles.1 = work.len();
            stages.progress.dates.1 = work.iter().map(|work| fusion.steps.len() - work.first).sum();
            let workers = Workers::new(fusion);
            let mut records = Vec::with_capacity(work.len());
            let mut blocks = 0;
            for work in work {
                let record = work.run(fusion, folder, stages, &workers, &mut blocks)?;
                stages.progress.tiles.0 += 1;
                stages.tell();
                records.push(record);
            }
            Ok((records, blocks, stages.timing))
        };
        let ((records, blocks, filtering), timing) = drive(fusion, &reads, sink, written, callback, filter)?;
        let timing = super::Timing { read: timing.read, write: timing.write, ..filtering };
        Ok((records, timing, blocks))
    }
}

fn describe_dates(dates: &[Date]) -> String {
    match dates {
        [] => "no dates".into(),
        [.., last] => format!("{} dates to {last}", dates.len()),
    }
}

/// The report of tiles, which come in their order.
fn report<'r>(fusion: &Fusion, records: impl Iterator<Item = &'r Record>) -> Report {
    let mut summary = Summary::default();
    records.for_each(|record| summary.merge(&record.summary));
    summary.report(&names(&fusion.instruments))
}

impl Work {
    /// Its batches, as ranges of steps; one ends where the light state is taken.
    fn batches(&self, fusion: &Fusion) -> Vec<std::ops::Range<usize>> {
        let end = fusion.steps.len();
        let cut = self.capture.map_or(self.first, |day| fusion.steps.partition_point(|(date, _)| *date <= day));
        let cut = cut.clamp(self.first, end);
        let batches = |from: usize, to: usize| {
            let step = fusion.plan.batch_dates;
            (from..to).step_by(step).map(move |first| first..(first + step).min(to))
        };
        batches(self.first, cut).chain(batches(cut, end)).collect()
    }

    /// The windows where the tile begins.
    fn state(&self, fusion: &Fusion, folder: Option<&StateFolder>) -> Result<(TileState, Vec<PassedStep>)> {
        let begin = || TileState::first(fusion, self.tile.clone());
        match (&self.start, folder) {
            (TileStart::Full(file), _) => {
                let mut state = begin()?;
                let record = file.load(fusion, &mut state)?;
                state.go_on_after(fusion, record.date, record.summary);
                Ok((state, record.steps))
            }
            (TileStart::Light { date, steps, summary, learned, failed }, Some(folder)) => {
                let prior = |extent: &crate::geometry::Rect| light_prior(fusion, folder, *date, extent);
                let mut state = TileState::new(fusion, self.tile.clone(), *date, prior)?;
                state.replay_until(*learned, summary.clone(), failed);
                Ok((state, steps.clone()))
            }
            _ => Ok((begin()?, Vec::new())),
        }
    }

    /// Runs the tile to the end of the series.
    fn run(
        &self,
        fusion: &Fusion,
        folder: Option<&StateFolder>,
        stages: &mut Stages<'_>,
        workers: &Workers,
        blocks: &mut usize,
    ) -> Result<Record, Halt> {
        let started = Instant::now();
        let (mut state, passed) = fusion.pool.install(|| self.state(fusion, folder))?;
        stages.timing.setup += started.elapsed();
        let mut saved = Instant::now();
        let mut light = None;
        let mut records = self.records.clone();
        let (before, observations) = (stages.progress.dates.0, stages.progress.observations);
        for steps in self.batches(fusion) {
            self.capture(fusion, folder, &state, &mut light)?;
            let batch = stages.next_batch()?;
            let started = Instant::now();
            let made = fusion.pool.install(|| state.advance(fusion, &batch, workers))?;
            drop(batch);
            stages.timing.filter += started.elapsed();
            *blocks += made.len();
            let put_out = state.put_out(fusion);
            let last = steps.end == fusion.steps.len();
            stages.write(self.index, made, if last { fusion.output.len() } else { put_out })?;
            stages.progress.dates.0 = before + steps.end - self.first;
            stages.progress.observations = observations + state.observations;
            stages.tell();
            if let Some(folder) = folder
                && !last
                && !state.replays(fusion)
                && fusion.checkpoint() != Checkpoint::Off
                && saved.elapsed() >= fusion.checkpoint_interval
            {
                let record = self.record(fusion, &state, &passed, false, true);
                self.save(fusion, folder, stages, (&record, &state), &mut records)?;
                saved = Instant::now();
            }
        }
        self.capture(fusion, folder, &state, &mut light)?;
        let record = self.record(fusion, &state, &passed, true, fusion.checkpoint() == Checkpoint::Full);
        if let Some(folder) = folder {
            self.save(fusion, folder, stages, (&record, &state), &mut records)?;
        }
        Ok(record)
    }

    /// Writes a checkpoint, when all that it speaks of is on disk, and removes what is too old.
    fn save(
        &self,
        fusion: &Fusion,
        folder: &StateFolder,
        stages: &mut Stages<'_>,
        (record, state): (&Record, &TileState),
        records: &mut Vec<StateFile>,
    ) -> Result<(), Halt> {
        stages.flush()?;
        let started = Instant::now();
        let file = folder.save(fusion, record, state)?;
        // Newer ones were passed over: what they speak of has been replayed since.
        let (newer, older): (Vec<_>, Vec<_>) =
            records.drain(..).filter(|other| *other != file).partition(|other| other.date > file.date);
        let dropped = newer.into_iter().chain(older.iter().skip(fusion.keep_checkpoints - 1).cloned());
        for file in dropped {
            file.remove()?;
        }
        records.push(file);
        records.extend(older.into_iter().take(fusion.keep_checkpoints - 1));
        stages.timing.checkpoint += started.elapsed();
        Ok(())
    }

    /// Takes the light state when its day has come.
    fn capture(
        &self,
        fusion: &Fusion,
        folder: Option<&StateFolder>,
        state: &TileState,
        taken: &mut Option<Date>,
    ) -> Result<()> {
        let (Some(day), Some(folder), None) = (self.capture, folder, *taken) else { return Ok(()) };
        let next = fusion.steps.get(state.next_step).map(|(date, _)| *date);
        if next.is_none_or(|next| next > day) {
            let light = fusion.pool.install(|| state.light(fusion, day));
            folder.save_light(&fusion.settings, self.tile.index, &light)?;
            *taken = Some(day);
        }
        Ok(())
    }

    fn record(&self, fusion: &Fusion, state: &TileState, passed: &[PassedStep], ended: bool, full: bool) -> Record {
        let now = &fusion.steps[..state.next_step];
        let date = now.last().map_or(fusion.before_first(), |(date, _)| *date);
        let last = passed.last().map(|step| step.date);
        let since = now.iter().filter(|(date, _)| last.is_none_or(|last| *date > last));
        let step = |(date, step): &(Date, super::steps::Step)| PassedStep {
            date: *date,
            output: step.output.is_some(),
            instruments: step.instruments.clone(),
        };
        Record {
            settings: fusion.settings.clone(),
            date: last.map_or(date, |last| date.max(last)),
            steps: passed.iter().cloned().chain(since.map(step)).collect(),
            ended,
            written: if ended { fusion.output.len() } else { state.put_out(fusion) },
            summary: state.summary(),
            failed: state.failed(),
            full,
        }
    }
}
