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
        // NFS gives shared locks only on files that are open for reading.
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        match lock(&file) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { what: what.into() }),
            // Some network file systems have no locks; the user keeps processes apart there.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                tracing::warn!("{}: this file system has no locks; keep processes apart yourself", path.display());
                Ok(Self { _file: file })
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    // What Linux says where a network file system is mounted without its lock service.
    const NO_LOCKS: i32 = 37;
    error.kind() == io::ErrorKind::Unsupported || (cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_LOCKS))
}
