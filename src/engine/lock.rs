//! Advisory locks that stop processes from working on the same files. They end with their process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{Error, Result};

/// A lock that is released when it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock exclusively. The error names `what` if another process holds it.
    pub(super) fn exclusive(path: &Path, what: &str) -> Result<Self> {
        Self::take(path, what, File::try_lock)
    }

    /// Takes the lock together with other shared holders. The error names `what` if another process holds it
    /// exclusively.
    pub(super) fn shared(path: &Path, what: &str) -> Result<Self> {
        Self::take(path, what, File::try_lock_shared)
    }

    /// Waits until other holders release the lock.
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
        // NFS grants shared locks only on files that are open for reading.
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        match lock(&file) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { what: what.into() }),
            // Some network file systems have no locks; users must then separate processes themselves.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                tracing::warn!(
                    "{}: this file system has no locks; make sure that no two processes share a tile",
                    path.display()
                );
                Ok(Self { _file: file })
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    // The error code of Linux for a network file system that is mounted without its lock service.
    const NO_LOCKS: i32 = 37;
    error.kind() == io::ErrorKind::Unsupported || (cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_LOCKS))
}
