//! Keeps processes out of each other's way, by advisory locks that die with their process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// Held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Nobody else holds the lock in any way, or an error naming `what`.
    pub(super) fn exclusive(path: &Path, what: &str) -> Result<Self> {
        Self::take(path, what, File::try_lock)
    }

    /// Others may hold it likewise, but nobody exclusively.
    pub(super) fn shared(path: &Path, what: &str) -> Result<Self> {
        Self::take(path, what, File::try_lock_shared)
    }

    /// Waits for the others to let go.
    pub(super) fn wait(path: &Path) -> Result<Self> {
        Self::take(path, "", |file| file.lock().map_err(TryLockError::Error))
    }

    fn take(path: &Path, what: &str, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Self> {
        let error = |path: &Path, problem: &str, error: io::Error| Error::Store {
            path: path.to_path_buf(),
            problem: format!("{problem}: {error}"),
            source: Some(Box::new(error)),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| error(folder, "cannot create the folder", e))?;
        }
        let failed = |e: io::Error| error(path, "cannot lock", e);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        match lock(&file) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { what: what.into() }),
            // Some network file systems have no locks; the user keeps processes apart there.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(path = %path.display(), "this file system has no locks");
                Ok(Self { _file: file })
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
