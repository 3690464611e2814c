//! A run into a sink: starts, resumes or extends a series.

use std::collections::BTreeSet;
use std::path::Path;

use super::ahead::Reads;
use super::assignment::Assignment;
use super::checkpoint::{Keeping, StateFile, StateFolder};
use super::evidence::Evidence;
use super::fusion::names;
use super::lock::Lock;
use super::pipeline::{Stages, Written, drive};
use super::progress::Progress;
use super::start::Again;
use super::summary::Summary;
use super::tile::Workers;
use super::work::Work;
use super::{Checkpoint, Fusion, Shard};
use crate::error::{Error, Remedy, Result};
use crate::series::{ExistingSeries, FusionSink, HeldBlocks, Report, SeriesLayout, Timing, digest};

/// How a run relates to an existing series in its sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// A new series. A sink that holds one is refused.
    #[default]
    New,
    /// Finishes an interrupted run; the bytes equal those of an uninterrupted run. Starts a new series where there is
    /// none, nor checkpoints of one.
    Resume,
    /// Adds the dates that the series does not have yet; the bytes equal those of one run over all dates. Starts a
    /// new series where there is none, nor checkpoints of one.
    Append,
}

/// The lock that a run holds, and that shards hold together.
const RUN_LOCK: &str = "run.lock";

type Callback<'a> = Box<dyn Fn(&Progress) + Sync + 'a>;

/// A run of a [`Fusion`] into a sink, with all its options. [`Fusion::run`] uses the defaults.
///
/// ```no_run
/// # use rasterfuse::{Fusion, Result, series::FusionSink};
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

impl Fusion {
    /// A run into a sink, with its options: start, resume or append, shards, progress.
    #[must_use]
    pub fn job(&self) -> Job<'_> {
        Job::new(self)
    }

    /// Runs the fusion into a sink as a new series.
    ///
    /// # Errors
    /// As [`Job::run`].
    pub fn run(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        self.job().run(sink)
    }
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
    fn new(fusion: &'a Fusion) -> Self {
        Self { fusion, start: Start::New, replay: false, shard: None, check_disk: true, progress: None }
    }

    /// Starts a new series, resumes or appends. Default: a new series.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Whether late dates are replayed from the last checkpoint before them, and tiles without a checkpoint from the
    /// start. Default: both are refused. During the run, readers do not see the replayed dates.
    #[must_use]
    pub fn replay(mut self, replay: bool) -> Self {
        self.replay = replay;
        self
    }

    /// Runs one part of the tiles, while other processes run the others into the same store. Results become visible
    /// in [`finalize`](Self::finalize).
    #[must_use]
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
        self
    }

    /// Whether to refuse a run whose results may not fit on the disk. Default: yes.
    #[must_use]
    pub fn check_disk(mut self, check: bool) -> Self {
        self.check_disk = check;
        self
    }

    /// Reports progress: after every batch, about once a second within one, and every ten seconds while waiting for
    /// slices. Calls may come from any thread.
    #[must_use]
    pub fn progress(mut self, callback: impl Fn(&Progress) + Sync + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// Runs the fusion into the sink. Returns the report of the full series, or of the tiles of a shard.
    ///
    /// # Errors
    /// The first error of a source, a window or the sink; [`Error::StoreExists`], [`Error::SettingsDiffer`],
    /// [`Error::CannotContinue`], [`Error::LateDate`], [`Error::Checkpoint`], [`Error::Locked`],
    /// [`Error::DiskSpace`]; [`Error::NothingUsed`] for an instrument or a band without a single used value. Dates that were committed earlier stay readable, and the run can be resumed.
    pub fn run(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        self.fusion.naming(self.run_series(sink))
    }

    /// Checks, before anything is done, whether [`run`](Self::run) would refuse the series in the sink: a series that
    /// exists although a new one was requested, or one with other settings. Shards are checked when they run, because
    /// other shards may be about to start the series.
    ///
    /// # Errors
    /// [`Error::StoreExists`], [`Error::SettingsDiffer`], [`Error::Occupied`].
    pub fn check(&self, sink: &dyn FusionSink) -> Result<()> {
        self.fusion.naming(self.check_series(sink))
    }

    fn check_series(&self, sink: &dyn FusionSink) -> Result<()> {
        self.fusion.refuse_idle()?;
        if self.shard.is_some() {
            return Ok(());
        }
        let Some(existing) = sink.existing()? else { return Ok(()) };
        if self.start == Start::New {
            return Err(Error::StoreExists { path: sink.location(), state: existing.describe() });
        }
        self.check_same(&existing, sink)
    }

    fn run_series(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        fusion.refuse_idle()?;
        if self.start == Start::New {
            self.check_series(sink)?;
        }
        // A place that cannot be one is refused here, before it is asked for its folder.
        sink.existing()?;
        let Some(beside) = sink.state_folder() else {
            return self.run_without_state(sink);
        };
        let folder = StateFolder::new(&beside)?;
        let store = sink.location();
        let what = store.display().to_string();
        folder.claim()?;
        let _run = match self.shard {
            None => Lock::exclusive(folder.folder(), RUN_LOCK, &what)?,
            Some(_) => Lock::shared(folder.folder(), RUN_LOCK, &what)?,
        };
        // Shards start the series one after another.
        let beginning = Lock::wait(folder.folder(), "begin.lock")?;
        let existing = sink.existing()?;
        if self.shard.is_none() {
            folder.sweep()?;
            sink.sweep()?;
        }
        match &existing {
            Some(existing) => self.check_same(existing, sink)?,
            None => self.check_gone(&folder, &store)?,
        }
        let own: Vec<usize> = match self.shard {
            None => (0..fusion.tiling.tile_count()).collect(),
            Some(shard) => shard.tiles(&fusion.tiling),
        };
        if let Some(existing) = existing.as_ref().filter(|existing| self.is_done(existing, &folder)) {
            return self.nothing_to_do(existing, sink);
        }
        let late = self.replay || existing.as_ref().is_some_and(ExistingSeries::is_replaying);
        let again = Again { late, skipped: self.replay };
        let assigned = Assignment::new(fusion, (&folder, &store, sink), existing.as_ref(), &own, again)?;
        let visible = self.visible(existing.as_ref(), &assigned, sink)?;
        let finished = existing.as_ref().is_some_and(|existing| existing.finished);
        if assigned.work.is_empty() && finished && visible == fusion.output.len() {
            return self.report(&assigned.summary);
        }
        if self.check_disk {
            // Other shards are about to write as much.
            assigned.check_space(fusion, (&store, &beside), visible, self.shard.map_or(1, Shard::count))?;
        }
        if existing.as_ref().is_some_and(|existing| visible < existing.visible) {
            assigned.check_states(fusion, &folder)?;
        }
        for fault in &assigned.damage.found.faults {
            tracing::warn!("{}: {fault}; its tile is processed again", store.display());
        }
        if existing.is_none() {
            folder.clear()?;
        }
        let layout = self.start_series(existing.as_ref(), (&assigned, visible), sink)?;
        let _tiles = match self.shard {
            None => Vec::new(),
            Some(_) => lock_tiles(&folder, &assigned.work)?,
        };
        drop(beginning);
        let keeping = Keeping { folder, identity: layout.identity };
        self.run_tiles(assigned, (&keeping, visible), sink)
    }

    /// Begins the series in the sink, or reopens it. Returns its layout.
    fn start_series(
        &self,
        existing: Option<&ExistingSeries>,
        (assigned, visible): (&Assignment, usize),
        sink: &mut dyn FusionSink,
    ) -> Result<SeriesLayout> {
        let mut layout = self.fusion.layout_for(sink);
        let Some(existing) = existing else {
            sink.begin(&layout)?;
            return Ok(layout);
        };
        let same = existing.dates_digest == digest(&layout.dates);
        let replays = assigned.late.is_some() || self.replay;
        if let Some(identity) = &existing.identity {
            layout.identity = identity.clone();
            // Shards of one replay belong to one generation.
            let begins = replays && !identity.replaying;
            if begins || assigned.damage.found.first.is_some() || !same || existing.finished {
                layout.identity = identity.next(identity.replaying || assigned.late.is_some());
            }
        }
        // The settings that the first shard stores also apply to later shards.
        let joins = self.shard.is_some() && same && existing.visible == visible && !existing.finished;
        if joins && existing.identity.as_ref() == Some(&layout.identity) {
            sink.join(&layout)?;
        } else {
            sink.reopen(&layout, visible)?;
        }
        Ok(layout)
    }

    /// Runs what is to be done, and ends the series unless other shards do.
    fn run_tiles(
        &self,
        assigned: Assignment,
        (keeping, visible): (&Keeping, usize),
        sink: &mut dyn FusionSink,
    ) -> Result<Report> {
        let fusion = self.fusion;
        let commits = self.shard.is_none();
        let begins = assigned.work.iter().map(|work| (work.tile.index, work.first));
        let evidence = commits.then(|| Evidence::new(fusion, keeping, begins));
        let mut written = Written { dates: vec![visible; fusion.tiling.tile_count()], visible, commits, evidence };
        for &(tile, dates) in &assigned.done {
            written.dates[tile] = dates.max(visible);
        }
        let mut summary = assigned.summary;
        let mut done = Report::default();
        if !assigned.work.is_empty() {
            (done.timing, done.blocks) = self.drive(sink, Some(keeping), written, &assigned.work, &mut summary)?;
        } else if self.shard.is_none() {
            sink.commit(fusion.output.len())?;
        }
        let report = self.report(&summary)?;
        let mut report = Report { blocks: done.blocks, timing: done.timing, ..report };
        report.notes.extend(sink.notes());
        if self.shard.is_none() {
            sink.finish(&report)?;
            self.tidy(&keeping.folder)?;
        }
        Ok(report)
    }

    /// The report of what was run; of a whole series, with the inputs of which nothing was used.
    fn report(&self, summary: &Summary) -> Result<Report> {
        match self.shard {
            None => self.fusion.whole_report(summary),
            // Other shards may have used what this one has not.
            Some(_) => Ok(summary.report(&names(&self.fusion.model.instruments))),
        }
    }

    /// The report of a series that has ended without checkpoints; refused when chunks of it are not there.
    fn nothing_to_do(&self, existing: &ExistingSeries, sink: &dyn FusionSink) -> Result<Report> {
        let mut layout = self.fusion.layout_for(sink);
        if let Some(identity) = &existing.identity {
            layout.identity = identity.clone();
        }
        let mut found = HeldBlocks::default();
        for (_, tile) in self.fusion.tiles() {
            found.merge(sink.held(&layout, tile.index, existing.visible)?);
        }
        if found.count == 0 {
            return Ok(Report::default());
        }
        Err(Error::Incomplete { path: sink.location(), faults: found.faults, count: found.count })
    }

    /// Makes the results of all shards visible, and ends the series.
    ///
    /// # Errors
    /// [`Error::Unfinished`] naming the missing tiles, and the errors of [`run`](Self::run).
    pub fn finalize(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        let store = sink.location();
        let nothing =
            |problem: &str| Error::CannotContinue { path: store.clone(), problem: problem.into(), remedy: None };
        sink.existing()?.ok_or_else(|| nothing("no shard has begun it"))?;
        let place = sink.state_folder().ok_or_else(|| nothing("this sink has no shards"))?;
        let folder = StateFolder::new(&place)?;
        let what = store.display().to_string();
        folder.claim()?;
        let _run = Lock::exclusive(folder.folder(), RUN_LOCK, &what)?;
        folder.sweep()?;
        sink.sweep()?;
        let existing = sink.existing()?.ok_or_else(|| nothing("no shard has begun it"))?;
        self.check_same(&existing, sink)?;
        self.check_dates(&existing, sink, ("append with its shards first", Remedy::AppendShards))?;
        if self.is_done(&existing, &folder) {
            return self.nothing_to_do(&existing, sink);
        }
        let all: Vec<usize> = (0..fusion.tiling.tile_count()).collect();
        // Where dates are made anew, every tile must have made them.
        let again = Again { late: self.replay || existing.is_replaying(), skipped: false };
        let assigned = Assignment::new(fusion, (&folder, &store, sink), Some(&existing), &all, again)?;
        let found = &assigned.damage.found;
        if found.count > 0 {
            return Err(Error::Incomplete { path: store, faults: found.faults.clone(), count: found.count });
        }
        if !assigned.work.is_empty() {
            let missing = assigned.work.iter().map(|work| work.tile.index).collect();
            return Err(Error::Unfinished { path: store, missing, tiles: all.len() });
        }
        let report = fusion.whole_report(&assigned.summary)?;
        if !existing.finished {
            self.start_series(Some(&existing), (&assigned, existing.visible), sink)?;
            sink.commit(fusion.output.len())?;
            sink.finish(&report)?;
            self.tidy(&folder)?;
        }
        Ok(report)
    }

    /// Runs into a sink without checkpoints.
    fn run_without_state(&self, sink: &mut dyn FusionSink) -> Result<Report> {
        let fusion = self.fusion;
        if self.start != Start::New || self.shard.is_some() {
            let problem = "this sink stores no checkpoints, so it accepts only new series".into();
            return Err(Error::CannotContinue { path: sink.location(), problem, remedy: None });
        }
        sink.begin(&fusion.layout_for(sink))?;
        let work: Vec<Work> = fusion.tiles().map(|(index, tile)| Work::fresh(index, tile)).collect();
        let written = Written { dates: vec![0; work.len()], visible: 0, commits: true, evidence: None };
        let mut summary = Summary::default();
        let (timing, blocks) = self.drive(sink, None, written, &work, &mut summary)?;
        let mut report = Report { blocks, timing, ..fusion.whole_report(&summary)? };
        report.notes.extend(sink.notes());
        sink.finish(&report)?;
        Ok(report)
    }

    /// Number of dates that stay visible during the run: those that it does not change.
    fn visible(
        &self,
        existing: Option<&ExistingSeries>,
        assigned: &Assignment,
        sink: &dyn FusionSink,
    ) -> Result<usize> {
        let Some(existing) = existing else { return Ok(0) };
        let output = &self.fusion.output;
        // Late dates may also be dates of the output axis.
        if assigned.late.is_none() {
            self.check_dates(existing, sink, ("append to it to add dates", Remedy::Append))?;
        }
        let goes_on = self.start == Start::Append || existing.finished;
        // A shard without tiles may be the first one to add new dates.
        let changes = !assigned.work.is_empty() || (self.shard.is_some() && output.len() > existing.planned.0);
        let visible = if goes_on && changes {
            existing.visible.min(existing.settled.min(existing.planned.0.saturating_sub(self.fusion.lag_asked)))
        } else {
            existing.visible
        };
        let visible = assigned.damage.found.first.map_or(visible, |first| visible.min(first));
        Ok(match assigned.late {
            // With a lag, results of earlier dates depend on the late date as well.
            Some(late) => visible.min(output.partition_point(|date| *date < late).saturating_sub(self.fusion.lag)),
            None => visible,
        })
    }

    fn check_same(&self, existing: &ExistingSeries, sink: &dyn FusionSink) -> Result<()> {
        let given = self.fusion.layout_for(sink).settings;
        let differences = existing.settings.differences(&given);
        if !differences.is_empty() {
            return Err(Error::SettingsDiffer { path: sink.location(), differences });
        }
        if existing.identity.is_none() {
            let problem = "it was made by an earlier version, which gave series no identity; finish it with that version, or choose \
                           another `output.store` and begin anew";
            return Err(Error::CannotContinue { path: sink.location(), problem: problem.into(), remedy: None });
        }
        Ok(())
    }

    /// Refuses to go on with a series of which there are only checkpoints: its store may be away for a while.
    fn check_gone(&self, folder: &StateFolder, store: &Path) -> Result<()> {
        if self.start == Start::New || folder.list()?.records.is_empty() {
            return Ok(());
        }
        let problem = format!(
            "there is no series to go on with, but {} holds checkpoints of one: was the store moved, or its disk not mounted? \
             Put it back; or remove that folder to begin anew",
            folder.path().display()
        );
        Err(Error::CannotContinue { path: store.to_path_buf(), problem, remedy: None })
    }

    /// Whether a series of exactly these dates has ended without checkpoints, so that late dates cannot be detected.
    fn is_done(&self, existing: &ExistingSeries, folder: &StateFolder) -> bool {
        let same = existing.planned.0 == self.fusion.output.len();
        let has_records = folder.list().is_ok_and(|list| !list.records.is_empty());
        existing.finished && same && !has_records && !self.replay
    }

    /// Refuses dates other than planned; appending may add dates.
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
        Err(Error::CannotContinue { path: sink.location(), problem, remedy })
    }

    /// Removes checkpoints from which no later run will start.
    fn tidy(&self, folder: &StateFolder) -> Result<()> {
        let fusion = self.fusion;
        if fusion.checkpoint() == Checkpoint::Off {
            return folder.remove();
        }
        let list = folder.list()?;
        // Light states are needed as long as a record refers to them.
        let mut named = BTreeSet::new();
        for file in list.records.values().flatten() {
            named.extend(file.refers_to()?);
        }
        for file in list.lights.values().flatten().filter(|file| !named.contains(&file.date)) {
            file.remove()?;
        }
        list.shown.values().flatten().try_for_each(StateFile::remove)?;
        for (_, tile) in fusion.tiles() {
            folder.unlock(tile.index)?;
        }
        Ok(())
    }

    /// Runs tiles one after another and adds their statistics. Returns the elapsed time and the number of output
    /// blocks.
    fn drive(
        &self,
        sink: &mut dyn FusionSink,
        keeping: Option<&Keeping>,
        written: Written<'_>,
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
                summary.merge(work.run(fusion, keeping, stages, &workers, &mut blocks)?);
                stages.progress.tiles.0 += 1;
                stages.report_progress();
            }
            Ok((blocks, stages.timing))
        };
        let ((blocks, filtering), timing) = drive(fusion, &reads, sink, written, callback, filter)?;
        let timing = Timing { read: timing.read, write: timing.write, ..filtering };
        Ok((timing, blocks))
    }
}

/// Stops a second process from running the same shard.
fn lock_tiles(folder: &StateFolder, work: &[Work]) -> Result<Vec<Lock>> {
    let lock = |work: &Work| {
        let (row, col) = work.tile.index;
        Lock::exclusive(folder.folder(), &format!("tile-{row}-{col}.lock"), &format!("tile [{row}, {col}]"))
    };
    work.iter().map(lock).collect()
}
