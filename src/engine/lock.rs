//! Locks that stop processes from working on the same files. They end with their process.

use crate::error::{Error, Result};
use crate::storage::{Folder, Guard, Hold};

/// A lock that is released when it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _guard: Box<dyn Guard>,
}

impl Lock {
    /// Takes the lock exclusively. The error names `what` if another process holds it.
    pub(super) fn exclusive(folder: &dyn Folder, name: &str, what: &str) -> Result<Self> {
        Self::take((folder, name), what, Hold::Exclusive)
    }

    /// Takes the lock together with other shared holders. The error names `what` if another process holds it
    /// exclusively.
    pub(super) fn shared(folder: &dyn Folder, name: &str, what: &str) -> Result<Self> {
        Self::take((folder, name), what, Hold::Shared)
    }

    /// Waits until other holders release the lock.
    pub(super) fn wait(folder: &dyn Folder, name: &str) -> Result<Self> {
        Self::take((folder, name), "", Hold::Waiting)
    }

    fn take((folder, name): (&dyn Folder, &str), what: &str, hold: Hold) -> Result<Self> {
        let guard = folder.lock(name, hold).map_err(|error| Error::Store {
            path: folder.path_of(name),
            problem: format!("cannot lock: {error}"),
            source: Some(Box::new(error)),
        })?;
        guard.map(|guard| Self { _guard: guard }).ok_or_else(|| Error::Locked { what: what.into() })
    }
}
