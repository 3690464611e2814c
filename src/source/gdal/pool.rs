use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::OpenRaster;

/// Idle handles a pool keeps open. A tile reads each date once, so handles are seldom used again before many others; opening a
/// local file costs tens of microseconds, and an open one holds its blocks in GDAL's cache.
const IDLE_HANDLES: usize = 4;

/// Open rasters of a stack, by a number for each of its files.
///
/// A dataset may wander between threads but never serves two at once (GDAL's rule): a reader takes it out and puts it back.
/// At most [`IDLE_HANDLES`] wait, the least recently used is closed first; so open handles are bounded by that number plus
/// the readers at work.
#[derive(Default)]
pub(in crate::source) struct Pool {
    idle: Mutex<Vec<(usize, OpenRaster)>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// Handles open at once, at most, while so many threads read.
    pub(in crate::source) fn most_open(readers: usize) -> usize {
        IDLE_HANDLES + readers
    }

    pub(in crate::source) fn take(&self, file: usize) -> Option<OpenRaster> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let position = idle.iter().position(|(held, _)| *held == file)?;
        Some(idle.remove(position).1)
    }

    pub(in crate::source) fn put(&self, file: usize, raster: OpenRaster) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((file, raster));
        let evicted = (idle.len() > IDLE_HANDLES).then(|| idle.remove(0));
        drop(idle);
        drop(evicted); // closing may take a while; not under the lock
    }
}
