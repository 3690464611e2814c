//! Slices that are being read, so that a run can name what it waits for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::geometry::Date;

/// Slices that are being read: (instrument, date, since when).
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Vec<(usize, Date, Instant)>>);

impl InFlight {
    /// Reads a slice, which counts as being read meanwhile.
    pub(super) fn during<R>(&self, instrument: usize, date: Date, read: impl FnOnce() -> R) -> R {
        self.lock().push((instrument, date, Instant::now()));
        let slice = read();
        self.lock().retain(|(other, day, _)| (*other, *day) != (instrument, date));
        slice
    }

    /// The slice that has been read for longest: instrument, date and for how long.
    pub(super) fn oldest(&self) -> Option<(usize, Date, Duration)> {
        let slices = self.lock();
        let oldest = slices.iter().min_by_key(|(_, _, since)| *since);
        oldest.map(|(instrument, date, since)| (*instrument, *date, since.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Date, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
