use std::collections::BTreeSet;

use super::assignment::Assignment;
use super::checkpoint::{Checkpoint, StateFolder};
use super::fusion::names;
use super::lock::Lock;
use super::pipeline::{Reads, Stages, Written, drive};
use super::progress::Progress;
use super::summary::Summary;
use super::tile::Workers;
use super::work::Work;
use super::{Fusion, Report, Shard, Timing};
use crate::error::{Error, Remedy, Result};
use crate::sink::{ExistingSeries, FusionSink, digest};

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

type Callback<'a> = Box<dyn Fn(&Progress) + Sync + 'a>;

/// A run of a [`Fusion`] into a sink, with all its choices; [`Fusion::run`] is the plain one.
///
/// ```no_run
/// # use rasterfuse::{Fusion, Result, sink::FusionSink};
/// # fn tomorrow(fusion: Fusion, sink: &mut dyn FusionSink) -> Result<()> {
/// use rasterfuse::engine::Start;
///
/// let report = fusion
///     .job()
///     .start(Start::Append)
///     .progress(|progress| eprintln!("{progress}"))
///     .run(sink)?; // such as ZarrSink::create("fused.zarr")
/// # Ok(())
/// # }
/// ```
pub struct Job<'a> {
    fusion: &'a Fusion,
    start: Start,
    replay: bool,
    shard: Option<Shard>,
    check_disk: bool,
    progress: Option<Callback<'a>>,
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
        self.fusion.naming(self.run_series(sink))
    }

    /// Refuses what [`run`](Self::run) would refuse of the series that the sink holds, before anything is done: one that is there
    /// although a new one was asked for, or one that was made with other settings. Shards, of which others may be about to begin
    /// it, are told when they run.
    ///
    /// # Errors
    /// [`Error::StoreExists`], [`Error::SettingsDiffer`], [`Error::Occupied`].
    pub fn check(&self, sink: &dyn FusionSink) -> Result<()> {
        self.fusion.naming(self.check_series(sink))
    }

    fn check_series(&self, sink: &dyn FusionSink) -> Result<()> {
        if self.shard.is_some() {
            return Ok(());
        }
        let Some(existing) = sink.existing()? else { return Ok(()) };
        if self.start == Start::New {
            return Err(Error::StoreExists { path: sink.place(), state: existing.describe() });
        }
        self.check_same(&existing, sink)
    }

    fn run_series(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        let Some(folder) = sink.state_folder().map(StateFolder::new) else {
            return self.run_without_state(sink);
        };
        let place = sink.place();
        if self.start == Start::New {
            self.check_series(sink)?;
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
        if let Some(existing) = &existing {
            self.check_same(existing, sink)?;
        }
        let own: Vec<usize> = match self.shard {
            None => (0..fusion.tiling.tile_count()).collect(),
            Some(shard) => shard.tiles(&fusion.tiling),
        };
        if existing.as_ref().is_some_and(|existing| self.is_done(existing, &folder)) {
            return Ok(Report::default());
        }
        let assigned = Assignment::new(fusion, (&folder, &place), existing.as_ref(), &own, self.replay)?;
        let visible = self.visible(existing.as_ref(), &assigned, sink)?;
        let finished = existing.as_ref().is_some_and(|existing| existing.finished);
        if assigned.work.is_empty() && finished && visible == fusion.output.len() {
            return Ok(assigned.summary.report(&names(&fusion.instruments)));
        }
        if self.check_disk {
            // Other shards are about to write as much.
            assigned.check_space(fusion, &place, visible, self.shard.map_or(1, Shard::count))?;
        }
        match &existing {
            None => sink.begin(&layout)?,
            // What the first shard has said of the series holds for those that come later.
            Some(existing)
                if self.shard.is_some()
                    && existing.dates_digest == digest(&layout.dates)
                    && existing.visible == visible
                    && !existing.finished =>
            {
                sink.join(&layout)?;
            }
            Some(_) => sink.reopen(&layout, visible)?,
        }
        let _tiles = match self.shard {
            None => Vec::new(),
            Some(_) => lock_tiles(&folder, &assigned.work)?,
        };
        drop(beginning);
        let mut written =
            Written { dates: vec![visible; fusion.tiling.tile_count()], visible, commits: self.shard.is_none() };
        for &(tile, dates) in &assigned.done {
            written.dates[tile] = dates.max(visible);
        }
        let mut summary = assigned.summary;
        let mut done = Report::default();
        if !assigned.work.is_empty() {
            (done.timing, done.blocks) = self.drive(sink, Some(&folder), written, &assigned.work, &mut summary)?;
        } else if self.shard.is_none() {
            sink.commit(fusion.output.len())?;
        }
        let report = summary.report(&names(&fusion.instruments));
        let report = Report { blocks: done.blocks, timing: done.timing, ..report };
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
        let nothing =
            |problem: &str| Error::CannotContinue { path: place.clone(), problem: problem.into(), remedy: None };
        let folder = sink.state_folder().map(StateFolder::new).ok_or_else(|| nothing("this sink has no shards"))?;
        let existing = sink.existing()?.ok_or_else(|| nothing("no shard has begun it"))?;
        let what = place.display().to_string();
        let _run = Lock::exclusive(&folder.path().join("run.lock"), &what)?;
        self.check_same(&existing, sink)?;
        self.check_dates(&existing, sink, ("append with its shards first", Remedy::AppendShards))?;
        if self.is_done(&existing, &folder) {
            return Ok(Report::default());
        }
        let all: Vec<usize> = (0..fusion.tiling.tile_count()).collect();
        let assigned = Assignment::new(fusion, (&folder, &place), Some(&existing), &all, self.replay)?;
        if !assigned.work.is_empty() {
            let missing = assigned.work.iter().map(|work| work.tile.index).collect();
            return Err(Error::Unfinished { path: place, missing, tiles: all.len() });
        }
        let report = assigned.summary.report(&names(&fusion.instruments));
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
            return Err(Error::CannotContinue { path: sink.place(), problem, remedy: None });
        }
        sink.begin(&fusion.layout_for(sink))?;
        let work: Vec<Work> = fusion.tiles().map(|(index, tile)| Work::fresh(index, tile)).collect();
        let written = Written { dates: vec![0; work.len()], visible: 0, commits: true };
        let mut summary = Summary::default();
        let (timing, blocks) = self.drive(sink, None, written, &work, &mut summary)?;
        let report = Report { blocks, timing, ..summary.report(&names(&fusion.instruments)) };
        sink.finish(&report)?;
        Ok(report)
    }

    /// Dates that stay visible while the run goes on: those that it will not change.
    fn visible(
        &self,
        existing: Option<&ExistingSeries>,
        assigned: &Assignment,
        sink: &dyn FusionSink,
    ) -> Result<usize> {
        let Some(existing) = existing else { return Ok(0) };
        let output = &self.fusion.output;
        // Late dates may be dates of the output axis as well.
        if assigned.late.is_none() {
            self.check_dates(existing, sink, ("append to it to add dates", Remedy::Append))?;
        }
        let goes_on = self.start == Start::Append || existing.finished;
        // A shard may have no tiles, and yet be the first to speak of new dates.
        let changes = !assigned.work.is_empty() || (self.shard.is_some() && output.len() > existing.planned.0);
        let visible = if goes_on && changes { existing.visible.min(existing.settled) } else { existing.visible };
        Ok(match assigned.late {
            // With a lag, dates before the late one rest on it as well.
            Some(late) => visible.min(output.partition_point(|date| *date < late).saturating_sub(self.fusion.lag)),
            None => visible,
        })
    }

    fn check_same(&self, existing: &ExistingSeries, sink: &dyn FusionSink) -> Result<()> {
        let given = self.fusion.layout_for(sink).settings;
        let differences = existing.settings.differences(&given);
        if differences.is_empty() { Ok(()) } else { Err(Error::SettingsDiffer { path: sink.place(), differences }) }
    }

    /// Whether a series of these very dates has ended without leaving checkpoints, so that nothing can be told late.
    fn is_done(&self, existing: &ExistingSeries, folder: &StateFolder) -> bool {
        let same = existing.planned.0 == self.fusion.output.len();
        let kept = folder.list().is_ok_and(|list| !list.records.is_empty());
        existing.finished && same && !kept && !self.replay
    }

    /// Refuses other dates than were planned; appending may add to them.
    fn check_dates(&self, existing: &ExistingSeries, sink: &dyn FusionSink, advice: (&str, Remedy)) -> Result<()> {
        let output = &self.fusion.output;
        let (planned, end) = existing.planned;
        let same = output.get(..planned).is_some_and(|first| digest(first) == existing.dates_digest);
        if same && (output.len() == planned || self.start == Start::Append) {
            return Ok(());
        }
        let now = match output.as_slice() {
            [] => "no dates".into(),
            [.., last] => format!("{} dates to {last}", output.len()),
        };
        let (advice, remedy) = if same {
            (advice.0, Some(advice.1))
        } else {
            ("whose first are others: check [time], and whether files are gone", None)
        };
        let problem = format!("it was planned for {planned} dates to {end}, this run is for {now}; {advice}");
        Err(Error::CannotContinue { path: sink.place(), problem, remedy })
    }

    /// Removes what nobody will begin from any more.
    fn tidy(&self, folder: &StateFolder) -> Result<()> {
        let fusion = self.fusion;
        if fusion.checkpoint() == Checkpoint::Off {
            return folder.remove();
        }
        let list = folder.list()?;
        // Light states are kept as long as a record names them.
        let mut named = BTreeSet::new();
        for file in list.records.values().flatten() {
            named.extend(file.record()?.light);
        }
        for file in list.lights.values().flatten().filter(|file| !named.contains(&file.date)) {
            file.remove()?;
        }
        for (_, tile) in fusion.tiles() {
            folder.unlock(tile.index)?;
        }
        Ok(())
    }

    /// Runs tiles one after the other and adds what is learned. Gives the time it took and the blocks put out.
    fn drive(
        &self,
        sink: &mut dyn FusionSink,
        folder: Option<&StateFolder>,
        written: Written,
        work: &[Work],
        summary: &mut Summary,
    ) -> Result<(Timing, usize)> {
        let fusion = self.fusion;
        let reads = Reads { tiles: work.iter().map(|work| (work.tile.clone(), work.batches(fusion))).collect() };
        let callback = self.progress.as_deref();
        let filter = |stages: &mut Stages<'_>| {
            stages.progress.tiles.1 = work.len();
            stages.progress.dates.1 = work.iter().map(|work| fusion.steps.len() - work.first).sum();
            let workers = Workers::new(fusion);
            let mut blocks = 0;
            for work in work {
                summary.merge(&work.run(fusion, folder, stages, &workers, &mut blocks)?);
                stages.progress.tiles.0 += 1;
                stages.tell();
            }
            Ok((blocks, stages.timing))
        };
        let ((blocks, filtering), timing) = drive(fusion, &reads, sink, written, callback, filter)?;
        let timing = Timing { read: timing.read, write: timing.write, ..filtering };
        Ok((timing, blocks))
    }
}

/// Keeps a second process from the same shard.
fn lock_tiles(folder: &StateFolder, work: &[Work]) -> Result<Vec<Lock>> {
    let lock = |work: &Work| {
        let (row, col) = work.tile.index;
        Lock::exclusive(&folder.path().join(format!("tile-{row}-{col}.lock")), &format!("tile [{row}, {col}]"))
    };
    work.iter().map(lock).collect()
}
