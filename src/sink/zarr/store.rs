//! A file system store whose files are replaced atomically.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zarrs::storage::{Bytes, OffsetBytesIterator, StorageError, StoreKey, StorePrefix, WritableStorageTraits};

use crate::error::{Error, Result};

/// Largest number of files since the last sync. It bounds memory, not durability.
const PENDING: usize = 1024;

/// A folder whose files are replaced atomically: written to a temporary file, then renamed.
///
/// The file system store of zarrs truncates files in place, so that a crash leaves torn chunks; it also syncs every
/// key, and remembers every key for ever. Here a file is always either the old or the new one. [`sync`](Self::sync)
/// makes everything written since the last call durable; the metadata that reveal it are replaced afterwards.
#[derive(Debug)]
pub(super) struct AtomicStore {
    root: PathBuf,
    /// Files that [`sync`](Self::sync) waits for; `None` when every file is durable before it is renamed.
    pending: Option<Mutex<Vec<PathBuf>>>,
}

impl AtomicStore {
    /// The store at `root` for files that readers see at once: every file is durable before it is renamed.
    pub(super) fn visible(root: &Path) -> Self {
        Self { root: root.to_path_buf(), pending: None }
    }

    /// The store at `root` for files that are revealed later, after a [`sync`](Self::sync).
    pub(super) fn hidden(root: &Path) -> Self {
        Self { root: root.to_path_buf(), pending: Some(Mutex::default()) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        self.write_file(path.clone(), bytes).map_err(|error| io_error(&path, "cannot write", error))
    }

    fn write_file(&self, path: PathBuf, bytes: &[u8]) -> io::Result<()> {
        let Some(pending) = &self.pending else {
            replace(&path, bytes, true)?;
            return sync_files(&self.root, &[path]).map_err(|(_, error)| error);
        };
        replace(&path, bytes, false)?;
        let full = {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.push(path);
            if pending.len() >= PENDING { std::mem::take(&mut *pending) } else { Vec::new() }
        };
        sync_files(&self.root, &full).map_err(|(_, error)| error)
    }

    /// Waits until everything written so far is on disk.
    pub(super) fn sync(&self) -> Result<()> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let written = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
        sync_files(&self.root, &written).map_err(|(path, error)| io_error(&path, "cannot sync", error))
    }
}

fn io_error(path: &Path, action: &str, error: io::Error) -> Error {
    Error::Store { path: path.to_path_buf(), problem: format!("{action}: {error}"), source: Some(Box::new(error)) }
}

/// Writes a temporary file and renames it; creates missing folders. With `durable`, for files that readers see, the
/// contents are on disk before the rename. Files that are revealed later may reach the disk later.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.partial"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    };
    let written = match (write(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).and_then(|()| write())
        }
        (written, _) => written,
    };
    let replaced = written.and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The disk may be full: no partial file must remain. The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// From this number of files on, the full file system is synced at once, which takes about as long as a few single
/// files.
#[cfg(target_os = "linux")]
const MANY: usize = 8;

/// Waits for files and for their parent folders.
fn sync_files(root: &Path, files: &[PathBuf]) -> std::result::Result<(), (PathBuf, io::Error)> {
    #[cfg(target_os = "linux")]
    if files.len() >= MANY {
        let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(root)?)?) };
        return sync().map_err(|error| (root.to_path_buf(), error));
    }
    sync_each(root, files)
}

/// Waits for files and for their parent folders, each once.
fn sync_each(root: &Path, files: &[PathBuf]) -> std::result::Result<(), (PathBuf, io::Error)> {
    let folders: BTreeSet<&Path> =
        files.iter().flat_map(|path| path.ancestors().skip(1).take_while(|folder| folder.starts_with(root))).collect();
    for path in files.iter().map(PathBuf::as_path).chain(folders) {
        match File::open(path).and_then(|file| file.sync_all()) {
            // Deleted since: there is nothing to sync.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((path.to_path_buf(), error)),
            _ => {}
        }
    }
    Ok(())
}

impl WritableStorageTraits for AtomicStore {
    fn set(&self, key: &StoreKey, value: Bytes) -> std::result::Result<(), StorageError> {
        Ok(self.write_file(self.root.join(key.as_str()), &value)?)
    }

    fn set_partial_many(&self, key: &StoreKey, _: OffsetBytesIterator<'_>) -> std::result::Result<(), StorageError> {
        Err(StorageError::Unsupported(format!("{key}: chunks are written in full")))
    }

    fn erase(&self, key: &StoreKey) -> std::result::Result<(), StorageError> {
        match fs::remove_file(self.root.join(key.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn erase_prefix(&self, prefix: &StorePrefix) -> std::result::Result<(), StorageError> {
        match fs::remove_dir_all(self.root.join(prefix.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn supports_set_partial(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_leave_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let store = AtomicStore::hidden(folder.path());
        let key = StoreKey::new("mean/c/0/0").unwrap();
        // A stale partial file of a run that was killed must not be in the way.
        fs::create_dir_all(folder.path().join("mean/c/0")).unwrap();
        fs::write(folder.path().join("mean/c/0/.0.partial"), b"torn").unwrap();
        for content in [&b"first"[..], b"second, longer", b"3"] {
            store.set(&key, Bytes::from_static(content)).unwrap();
            assert_eq!(fs::read(folder.path().join("mean/c/0/0")).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path().join("mean/c/0")).unwrap().count(), 1);
        store.sync().unwrap();
        store.erase(&key).unwrap();
        store.erase(&key).unwrap();
        AtomicStore::visible(folder.path()).write("zarr.json", b"{}").unwrap();
    }

    #[test]
    fn pending_files_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = AtomicStore::hidden(folder.path());
        for k in 0..PENDING + 10 {
            store.set(&StoreKey::new(format!("k{k}")).unwrap(), Bytes::from_static(b"x")).unwrap();
        }
        assert_eq!(store.pending.unwrap().lock().unwrap().len(), 10);
    }
}
