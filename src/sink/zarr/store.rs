//! A file system store whose files are replaced atomically.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use zarrs::storage::{Bytes, OffsetBytesIterator, StorageError, StoreKey, StorePrefix, WritableStorageTraits};

use super::ledger::ChunkStamp;
use crate::error::{Error, Result};
use crate::series::replace;

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
    /// The folder of temporary files; `None` where each is made in the folder of its target, which spreads many of
    /// them over the disk.
    scratch: Option<PathBuf>,
    /// Of files that are revealed later; `None` when every file is durable before it is renamed.
    hidden: Option<Mutex<Hidden>>,
}

/// Files that are not revealed yet.
#[derive(Debug, Default)]
struct Hidden {
    /// Files that [`sync`](AtomicStore::sync) waits for.
    pending: Vec<PathBuf>,
    /// Where they are asked for: length and checksum of files that nobody has [taken](AtomicStore::take_stamp) yet.
    stamps: Option<BTreeMap<String, ChunkStamp>>,
}

impl AtomicStore {
    /// The store at `root` for files that readers see at once: every file is durable before it is renamed. Temporary
    /// files are in `scratch`.
    pub(super) fn visible(root: &Path, scratch: &str) -> Self {
        Self { root: root.to_path_buf(), scratch: Some(root.join(scratch)), hidden: None }
    }

    /// The store at `root` for files that are revealed later, after a [`sync`](Self::sync).
    pub(super) fn hidden(root: &Path) -> Self {
        Self { root: root.to_path_buf(), scratch: None, hidden: Some(Mutex::default()) }
    }

    /// The same, which keeps the length and checksum of each file until they are [taken](Self::take_stamp).
    pub(super) fn stamped(root: &Path) -> Self {
        let hidden = Hidden { stamps: Some(BTreeMap::new()), ..Hidden::default() };
        Self { hidden: Some(Mutex::new(hidden)), ..Self::hidden(root) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        let written = self.write_file(path.clone(), |file| file.write_all(bytes));
        written.map_err(|error| io_error(&path, "cannot write", error))
    }

    /// Replaces a file with JSON, pretty-printed, because people open these files.
    pub(super) fn write_json(&self, name: &str, document: &impl Serialize) -> Result<()> {
        let path = self.root.join(name);
        let written = self.write_file(path.clone(), |file| {
            serde_json::to_writer_pretty(&mut *file, document)?;
            file.write_all(b"\n")
        });
        written.map_err(|error| io_error(&path, "cannot write", error))
    }

    fn write_file(&self, path: PathBuf, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
        let durable = self.hidden.is_none();
        let scratch = self.scratch.as_deref().or(path.parent()).unwrap_or(&self.root);
        replace(&path, scratch, durable, write)?;
        self.settle(path)
    }

    /// Makes a change of a file durable: at once where readers see it, otherwise with the next [`sync`](Self::sync).
    fn settle(&self, path: PathBuf) -> io::Result<()> {
        match self.hidden {
            None => sync_files(&self.root, &[path]).map_err(|(_, error)| error),
            Some(_) => self.pend(path),
        }
    }

    /// Adds a file that [`sync`](Self::sync) waits for.
    pub(super) fn pend(&self, path: PathBuf) -> io::Result<()> {
        let full = self.with_hidden(|hidden| {
            hidden.pending.push(path);
            if hidden.pending.len() >= PENDING { std::mem::take(&mut hidden.pending) } else { Vec::new() }
        });
        sync_files(&self.root, &full.unwrap_or_default()).map_err(|(_, error)| error)
    }

    /// Length and checksum of a file as it was written last; `None` when it was removed.
    pub(super) fn take_stamp(&self, key: &StoreKey) -> Option<ChunkStamp> {
        self.with_hidden(|hidden| hidden.stamps.as_mut()?.remove(key.as_str())).flatten()
    }

    fn with_hidden<R>(&self, call: impl FnOnce(&mut Hidden) -> R) -> Option<R> {
        self.hidden.as_ref().map(|hidden| call(&mut hidden.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits until everything written so far is on disk.
    pub(super) fn sync(&self) -> Result<()> {
        let written = self.with_hidden(|hidden| std::mem::take(&mut hidden.pending)).unwrap_or_default();
        sync_files(&self.root, &written).map_err(|(path, error)| io_error(&path, "cannot sync", error))
    }
}

pub(super) fn io_error(path: &Path, action: &str, error: io::Error) -> Error {
    Error::Store { path: path.to_path_buf(), problem: format!("{action}: {error}"), source: Some(Box::new(error)) }
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
            // Deleted since: its folder says so.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((path.to_path_buf(), error)),
            _ => {}
        }
    }
    Ok(())
}

impl WritableStorageTraits for AtomicStore {
    fn set(&self, key: &StoreKey, value: Bytes) -> std::result::Result<(), StorageError> {
        self.write_file(self.root.join(key.as_str()), |file| file.write_all(&value))?;
        self.with_hidden(|hidden| {
            let stamps = hidden.stamps.as_mut()?;
            stamps.insert(key.as_str().to_owned(), ChunkStamp::of(&value))
        });
        Ok(())
    }

    fn set_partial_many(&self, key: &StoreKey, _: OffsetBytesIterator<'_>) -> std::result::Result<(), StorageError> {
        Err(StorageError::Unsupported(format!("{key}: chunks are written in full")))
    }

    fn erase(&self, key: &StoreKey) -> std::result::Result<(), StorageError> {
        self.take_stamp(key);
        let path = self.root.join(key.as_str());
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Its folder must be on disk without it before its date is revealed.
            removed => Ok(removed.and_then(|()| self.settle(path))?),
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
    fn files_are_replaced_whole_and_stamped() {
        let folder = tempfile::tempdir().unwrap();
        let store = AtomicStore::stamped(folder.path());
        let key = StoreKey::new("mean/c/0/0").unwrap();
        for content in [&b"first"[..], b"second, longer", b"3"] {
            store.set(&key, Bytes::from_static(content)).unwrap();
            assert_eq!(fs::read(folder.path().join("mean/c/0/0")).unwrap(), content);
            assert_eq!(store.take_stamp(&key), Some(ChunkStamp::of(content)));
            assert_eq!(store.take_stamp(&key), None);
        }
        assert_eq!(fs::read_dir(folder.path().join("mean/c/0")).unwrap().count(), 1);
        store.sync().unwrap();
        store.set(&key, Bytes::from_static(b"4")).unwrap();
        store.sync().unwrap();
        store.erase(&key).unwrap();
        store.erase(&key).unwrap();
        assert_eq!(store.with_hidden(|hidden| hidden.pending.len()), Some(1), "a removal is synced, once");
        store.sync().unwrap();
        assert_eq!(store.take_stamp(&key), None);
        AtomicStore::visible(folder.path(), "").write("zarr.json", b"{}").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing temporary is left");
    }

    #[test]
    fn pending_files_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = AtomicStore::hidden(folder.path());
        for k in 0..PENDING + 10 {
            store.set(&StoreKey::new(format!("k{k}")).unwrap(), Bytes::from_static(b"x")).unwrap();
        }
        assert_eq!(store.with_hidden(|hidden| hidden.pending.len()), Some(10));
    }
}
