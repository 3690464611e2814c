//! A bounded pool of idle open rasters.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::OpenRaster;

/// Idle handles that a pool holds open. A tile reads each date once, so a handle is seldom used again before many
/// others. Opening a local file costs tens of microseconds, and an open one occupies GDAL's cache.
const IDLE_HANDLES: usize = 4;

/// Open rasters of a stack, by file number.
///
/// A dataset may move between threads but never serves two at once (GDAL's rule), so a reader takes it out and
/// returns it. At most [`IDLE_HANDLES`] are idle; the least recently used one is closed first. Open handles are
/// therefore bounded by that number plus the number of active readers.
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
    /// Upper bound on the number of handles that are open while `readers` threads read.
    pub(in crate::source) fn most_open(readers: usize) -> usize {
        IDLE_HANDLES + readers
    }

    pub(in crate::source) fn take(&self, file: usize) -> Option<OpenRaster> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let position = idle.iter().position(|(held, _)| *held == file)?;
        Some(idle.remove(position).1)
    }

    pub(in crate::source) fn put_back(&self, file: usize, raster: OpenRaster) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((file, raster));
        let evicted = (idle.len() > IDLE_HANDLES).then(|| idle.remove(0));
        drop(idle);
        drop(evicted); // closing may take a while; not under the lock
    }
}
