//! Reading ahead and writing behind: while one batch is filtered, the next is read and the one before is written.
//!
//! Stages hand batches on one by one (channels of no capacity), so that at any time at most two batches of slices and three of
//! results exist, however slow a source or a sink is.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::Fusion;
use super::ahead::{Reads, read_all};
use super::evidence::Evidence;
use super::in_flight::InFlight;
use super::progress::{Listener, Progress, Within};
use super::spare::Spare;
use super::window::Reading;
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::series::{FusedBlock, FusionSink, Saved, Timing};

/// Dates are made visible no more often than this: each time costs a few synchronous writes.
const COMMIT_INTERVAL: Duration = Duration::from_secs(2);

/// The same where each of these waits for a server.
const REMOTE_COMMIT_INTERVAL: Duration = Duration::from_secs(10);

/// A wait that is reported.
const LONG_WAIT: Duration = Duration::from_millis(if cfg!(test) { 30 } else { 10_000 });

/// What the filter hands to the writer.
enum Task {
    /// Blocks of a tile (its position among all tiles), which has then completed `output_dates` dates.
    Blocks { tile: usize, blocks: Vec<FusedBlock>, output_dates: usize },
    /// Answer when everything so far is safe.
    Flush(SyncSender<()>),
    /// A tile goes on without slices that could not be read.
    Skipped((usize, usize), Vec<(Date, usize)>),
    /// A checkpoint of a tile was saved.
    Saved((usize, usize), Saved),
}

/// Which dates of the output axis, from its start, are on disk.
pub(super) struct Written<'a> {
    /// By tile.
    pub(super) dates: Vec<usize>,
    /// Dates that readers see; blocks of theirs are not written again.
    pub(super) visible: usize,
    /// Whether this process makes dates visible.
    pub(super) commits: bool,
    /// What these are made from, where checkpoints are kept.
    pub(super) evidence: Option<Evidence<'a>>,
}

/// The filter's ends of the pipeline.
pub(super) struct Stages<'a> {
    fusion: &'a Fusion,
    batches: Receiver<Result<Vec<Reading>>>,
    tasks: SyncSender<Task>,
    in_flight: &'a InFlight,
    blocks: &'a AtomicUsize,
    visible: usize,
    pub(super) timing: Timing,
    pub(super) progress: Progress,
    started: Instant,
    callback: Option<Listener<'a>>,
}

/// Why filtering ends before its time.
pub(super) enum Halt {
    /// An error of its own, or one of reading.
    Error(Error),
    /// The writer has ended; its own error says why.
    Stopped,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stages<'_> {
    /// The next batch of slices.
    pub(super) fn next_batch(&mut self) -> Result<Vec<Reading>, Halt> {
        let started = Instant::now();
        let batch = loop {
            match self.batches.recv_timeout(LONG_WAIT) {
                Err(RecvTimeoutError::Timeout) => {
                    let oldest = self.in_flight.oldest().map(|(instrument, date, took)| {
                        let name = &self.fusion.model.instruments[instrument].name;
                        format!("{name} {date} for {:.0} s", took.as_secs_f64())
                    });
                    if let Some(what) = &oldest {
                        tracing::warn!("reading takes long: {what}");
                    }
                    self.progress.waiting_for = oldest;
                    self.report_progress();
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Halt::Stopped),
                Ok(batch) => break batch,
            }
        };
        self.progress.waiting_for = None;
        self.timing.wait_read += started.elapsed();
        Ok(batch?)
    }

    /// Hands blocks on to be written; dates that readers see already are not written again.
    pub(super) fn write(&mut self, tile: usize, mut blocks: Vec<FusedBlock>, output_dates: usize) -> Result<(), Halt> {
        blocks.retain(|block| block.time >= self.visible);
        self.send(Task::Blocks { tile, blocks, output_dates })
    }

    /// Waits until everything handed on so far is safe.
    pub(super) fn flush(&mut self) -> Result<(), Halt> {
        let (done, wait) = sync_channel(0);
        self.send(Task::Flush(done))?;
        let started = Instant::now();
        let flushed = wait.recv().map_err(|_| Halt::Stopped);
        self.timing.wait_write += started.elapsed();
        flushed
    }

    /// Notes slices of a tile that could not be read.
    pub(super) fn skipped(&mut self, tile: (usize, usize), slices: Vec<(Date, usize)>) -> Result<(), Halt> {
        if slices.is_empty() { Ok(()) } else { self.send(Task::Skipped(tile, slices)) }
    }

    /// Notes that a checkpoint of a tile was saved.
    pub(super) fn saved(&mut self, tile: (usize, usize), saved: Saved) -> Result<(), Halt> {
        self.send(Task::Saved(tile, saved))
    }

    fn send(&mut self, task: Task) -> Result<(), Halt> {
        let started = Instant::now();
        let sent = self.tasks.send(task).map_err(|_| Halt::Stopped);
        self.timing.wait_write += started.elapsed();
        sent
    }

    /// Reports to the caller how far windows are within a batch of so many dates.
    pub(super) fn within(&self, dates: usize) -> Within<'_> {
        Within::new(self.callback, self.progress.clone(), self.started, dates)
    }

    /// Reports to the caller how far the run is.
    pub(super) fn report_progress(&mut self) {
        self.progress.elapsed = self.started.elapsed();
        self.progress.blocks = self.blocks.load(Ordering::Relaxed);
        if let Some(callback) = self.callback {
            callback(&self.progress);
        }
    }
}

/// Runs `filter` between a reader and a writer of their own threads. Gives what it gives, with the time all took.
pub(super) fn drive<R>(
    fusion: &Fusion,
    reads: &Reads,
    sink: &mut dyn FusionSink,
    written: Written<'_>,
    callback: Option<Listener<'_>>,
    filter: impl FnOnce(&mut Stages<'_>) -> Result<R, Halt>,
) -> Result<(R, Timing)> {
    // Each has its own threads: a slow source must not keep blocks from being written.
    let reading = fusion.io_pool("read", fusion.reads_ahead())?;
    let writing = fusion.io_pool("write", sink.writes_in_flight().unwrap_or(0))?;
    let (in_flight, blocks) = (InFlight::default(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (to_filter, batches) = sync_channel(0);
        let (tasks, to_write) = sync_channel(0);
        let mut stages = Stages {
            fusion,
            batches,
            tasks,
            in_flight: &in_flight,
            blocks: &blocks,
            visible: written.visible,
            timing: Timing::default(),
            progress: Progress::default(),
            started: Instant::now(),
            callback,
        };
        let failed = |error: io::Error| Error::Threads { threads: 1, source: Box::new(error) };
        let named = |name: &str| thread::Builder::new().name(format!("rasterfuse-{name}"));
        let read = || read_all(fusion, &reading, reads, &in_flight, to_filter);
        let reader = named("reader").spawn_scoped(scope, read).map_err(failed)?;
        let write = || write_all((&writing, &fusion.spare), sink, written, to_write, &blocks);
        let writer = match named("writer").spawn_scoped(scope, write) {
            Ok(writer) => writer,
            Err(error) => {
                // The reader ends when nobody takes what it reads.
                drop(stages);
                joined(reader.join());
                return Err(failed(error));
            }
        };
        let outcome = filter(&mut stages);
        let Stages { mut timing, batches, tasks, .. } = stages;
        // Hanging up ends the other stages.
        drop((batches, tasks));
        timing.read = joined(reader.join());
        let (write, wrote) = joined(writer.join());
        timing.write = write;
        fusion.spare.clear();
        match (outcome, wrote) {
            // The writer's own error comes first: it is why the filter found it gone.
            (Err(Halt::Error(error)), Ok(())) | (_, Err(error)) => Err(error),
            (Ok(outcome), Ok(())) => Ok((outcome, timing)),
            (Err(Halt::Stopped), Ok(())) => Err(Error::Interrupted),
        }
    })
}

fn joined<T>(outcome: thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Writes everything as it comes and makes dates visible as they become whole. Gives the time it took.
fn write_all(
    (io, spare): (&ThreadPool, &Spare),
    sink: &mut dyn FusionSink,
    mut written: Written<'_>,
    tasks: Receiver<Task>,
    count: &AtomicUsize,
) -> (Duration, Result<()>) {
    let mut took = Duration::ZERO;
    let mut committed = Instant::now();
    let interval = if sink.writes_in_flight().is_some() { REMOTE_COMMIT_INTERVAL } else { COMMIT_INTERVAL };
    let mut work = |task: Task| -> Result<()> {
        match task {
            Task::Blocks { tile, blocks, output_dates } => {
                let taker = &*sink;
                io.install(|| blocks.par_iter().try_for_each(|block| taker.append(block)))?;
                count.fetch_add(blocks.len(), Ordering::Relaxed);
                spare.give(blocks);
                written.dates[tile] = output_dates;
                if committed.elapsed() >= interval {
                    written.commit(sink)?;
                    committed = Instant::now();
                }
            }
            Task::Flush(done) => {
                sink.flush()?;
                // Nobody waits any more when filtering has ended on an error.
                let _ = done.send(());
            }
            Task::Skipped(tile, slices) => {
                written.evidence.iter_mut().for_each(|evidence| evidence.skip(tile, slices.clone()));
            }
            Task::Saved(tile, saved) => {
                sink.saved(tile, saved)?;
                written.evidence.iter_mut().for_each(|evidence| evidence.saved(tile, saved.date));
            }
        }
        Ok(())
    };
    for task in tasks {
        let started = Instant::now();
        let outcome = work(task);
        took += started.elapsed();
        if outcome.is_err() {
            return (took, outcome);
        }
    }
    let started = Instant::now();
    let outcome = sink.flush().and_then(|()| written.commit(sink));
    (took + started.elapsed(), outcome)
}

impl Written<'_> {
    /// Makes visible what has become whole.
    fn commit(&mut self, sink: &mut dyn FusionSink) -> Result<()> {
        let whole = self.dates.iter().copied().min().unwrap_or(0);
        if self.commits && whole > self.visible {
            if let Some(evidence) = &mut self.evidence {
                evidence.note(whole)?;
            }
            sink.commit(whole)?;
            self.visible = whole;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use ndarray::Array4;

    use super::*;
    use crate::describe::{Instrument, Kernel, Prior, Process};
    use crate::geometry::{Crs, Date, Grid, PixelRegion};
    use crate::series::{Report, SeriesLayout};
    use crate::sink::MemorySink;
    use crate::source::{MemorySource, RasterSource, Slice};

    /// Takes its time over one date.
    #[derive(Debug)]
    struct Slow(MemorySource);

    impl RasterSource for Slow {
        fn grid(&self) -> &Grid {
            self.0.grid()
        }

        fn dates(&self) -> &[Date] {
            self.0.dates()
        }

        fn bands(&self) -> &[String] {
            self.0.bands()
        }

        fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
            if date == Date::from_days(2) {
                thread::sleep(10 * LONG_WAIT);
            }
            self.0.read(date, bands, region)
        }

        fn origin(&self) -> String {
            self.0.origin()
        }
    }

    /// Counts the blocks that are appended at a time.
    #[derive(Debug, Default)]
    struct Crowd {
        wanted: Option<usize>,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl FusionSink for Crowd {
        fn begin(&mut self, _: &SeriesLayout) -> Result<()> {
            Ok(())
        }

        fn append(&self, _: &FusedBlock) -> Result<()> {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            thread::sleep(LONG_WAIT);
            self.now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }

        fn writes_in_flight(&self) -> Option<usize> {
            self.wanted
        }

        fn commit(&mut self, _: usize) -> Result<()> {
            Ok(())
        }

        fn finish(&mut self, _: &Report) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn as_many_blocks_are_written_at_a_time_as_the_sink_waits_for() -> Result<()> {
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (4, 4))?;
        let dates = (0..8).map(Date::from_days).collect();
        let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], Array4::zeros((8, 1, 4, 4)))?;
        let fusion = Fusion::builder(grid)
            .bands(["red"])
            .process(Process::new(Kernel::Exponential, 100.0, 1e-3))
            .prior(Prior::new(0.0, 1.0))
            .instrument(Instrument::new("one", Arc::new(source)).noise_variance(1e-3))
            .batch_dates(8)
            .threads(1)
            .build()?;
        for (wanted, most) in [(None, 1), (Some(4), 4)] {
            let mut sink = Crowd { wanted, ..Crowd::default() };
            fusion.job().run(&mut sink)?;
            assert_eq!(sink.most.load(Ordering::SeqCst), most);
        }
        Ok(())
    }

    #[test]
    fn what_is_waited_for_is_named() -> Result<()> {
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (4, 4))?;
        let dates = (0..4).map(Date::from_days).collect();
        let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], Array4::zeros((4, 1, 4, 4)))?;
        let fusion = Fusion::builder(grid)
            .bands(["red"])
            .process(Process::new(Kernel::Exponential, 100.0, 1e-3))
            .prior(Prior::new(0.0, 1.0))
            .instrument(Instrument::new("lazy", Arc::new(Slow(source))).noise_variance(1e-3))
            .batch_dates(1)
            .build()?;
        let reported = Mutex::new(Vec::new());
        let listen =
            |progress: &Progress| reported.lock().unwrap_or_else(PoisonError::into_inner).push(progress.clone());
        fusion.job().progress(listen).run(&mut MemorySink::new())?;
        let reported = reported.into_inner().unwrap_or_else(PoisonError::into_inner);
        let waits: Vec<&str> = reported.iter().filter_map(|progress| progress.waiting_for.as_deref()).collect();
        assert!(!waits.is_empty() && waits.iter().all(|what| what.starts_with("lazy 1970-01-03 for")), "{waits:?}");
        assert!(reported.last().is_some_and(|progress| progress.waiting_for.is_none()));
        Ok(())
    }
}
