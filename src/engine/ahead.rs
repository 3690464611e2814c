//! Slices that are read ahead: of the next batch alone where reading computes, of as many batches as servers are to be asked
//! for where it waits.

use std::collections::VecDeque;
use std::ops::Range;
use std::slice::Iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel};
use std::time::{Duration, Instant};

use rayon::{Scope, ThreadPool};

use super::Fusion;
use super::in_flight::InFlight;
use super::tile::{ReadSlice, TileReader};
use super::window::Reading;
use crate::error::{Error, Result};
use crate::geometry::Tile;

/// What is to be read: tiles in order, each with its batches as ranges of steps.
pub(super) struct Reads {
    pub(super) tiles: Vec<(Tile, Vec<Range<usize>>)>,
}

/// What is not being read yet.
struct Upcoming<'a> {
    tiles: Iter<'a, (Tile, Vec<Range<usize>>)>,
    current: Option<(Arc<TileReader>, Iter<'a, Range<usize>>)>,
}

/// A batch whose slices are being read.
struct Batch {
    steps: Range<usize>,
    /// Position among the steps and instrument of each slice.
    wanted: Vec<(usize, usize)>,
    /// Slices by their number among `wanted`, as they come.
    slices: Receiver<(usize, Result<ReadSlice>)>,
}

/// Reads everything in order, one batch ahead or more; ends early when nobody takes it. Gives the time that it took
/// until slices were there.
pub(super) fn read_all(
    fusion: &Fusion,
    threads: &ThreadPool,
    reads: &Reads,
    in_flight: &InFlight,
    to_filter: SyncSender<Result<Vec<Reading>>>,
) -> Duration {
    let stopped = AtomicBool::new(false);
    threads.in_place_scope(|scope| {
        let took = Ahead { fusion, in_flight, stopped: &stopped, scope }.read(reads, &to_filter);
        // The filter ends on hanging up, and what is not being read yet is not wanted any more.
        drop(to_filter);
        stopped.store(true, Ordering::Relaxed);
        took
    })
}

/// What starts reads.
struct Ahead<'a, 'scope> {
    fusion: &'scope Fusion,
    in_flight: &'scope InFlight,
    stopped: &'scope AtomicBool,
    scope: &'a Scope<'scope>,
}

impl Ahead<'_, '_> {
    fn read(&self, reads: &Reads, to_filter: &SyncSender<Result<Vec<Reading>>>) -> Duration {
        let mut took = Duration::ZERO;
        let mut started: VecDeque<Result<Batch>> = VecDeque::new();
        let mut upcoming = Upcoming { tiles: reads.tiles.iter(), current: None };
        loop {
            let now = Instant::now();
            let ahead = |started: &VecDeque<Result<Batch>>| -> usize {
                started.iter().flatten().map(|batch| batch.wanted.len()).sum()
            };
            while started.is_empty() || ahead(&started) < self.fusion.reads_ahead() {
                let Some(batch) = self.next(&mut upcoming) else { break };
                started.push_back(batch);
            }
            let Some(next) = started.pop_front() else { return took };
            let batch = next.and_then(|batch| batch.finished(self.fusion));
            took += now.elapsed();
            let failed = batch.is_err();
            if to_filter.send(batch).is_err() || failed {
                return took;
            }
        }
    }

    /// Starts the next batch.
    fn next(&self, upcoming: &mut Upcoming<'_>) -> Option<Result<Batch>> {
        loop {
            if let Some((reader, batches)) = &mut upcoming.current
                && let Some(steps) = batches.next()
            {
                return Some(Ok(self.start(reader, steps.clone())));
            }
            let (tile, batches) = upcoming.tiles.next()?;
            match TileReader::new(self.fusion, tile) {
                Ok(reader) => upcoming.current = Some((Arc::new(reader), batches.iter())),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Starts reading the slices of some dates.
    fn start(&self, reader: &Arc<TileReader>, steps: Range<usize>) -> Batch {
        let wanted = reader.wanted(&self.fusion.steps[steps.clone()]);
        let (done, slices) = channel();
        for (number, &(index, instrument)) in wanted.iter().enumerate() {
            let (reader, done, date) = (Arc::clone(reader), done.clone(), self.fusion.steps[steps.start + index].0);
            let (fusion, in_flight, stopped) = (self.fusion, self.in_flight, self.stopped);
            self.scope.spawn(move |_| {
                if !stopped.load(Ordering::Relaxed) {
                    // Nobody waits any more where an earlier slice has failed.
                    let _ = done.send((number, reader.read_slice(fusion, date, instrument, in_flight)));
                }
            });
        }
        Batch { steps, wanted, slices }
    }
}

impl Batch {
    /// Waits for its slices.
    fn finished(self, fusion: &Fusion) -> Result<Vec<Reading>> {
        let Self { steps, wanted, slices } = self;
        let mut read: Vec<Option<ReadSlice>> = wanted.iter().map(|_| None).collect();
        for (number, slice) in slices {
            read[number] = Some(slice?);
        }
        // A thread that ended without a word has panicked, which the scope passes on.
        let read = read.into_iter().collect::<Option<Vec<_>>>().ok_or(Error::Interrupted)?;
        Ok(TileReader::readings(&fusion.steps[steps], &wanted, read))
    }
}
