//! The files of a store as zarrs reads and writes them, each replaced in one step.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator};
use zarrs::storage::{
    Bytes, MaybeBytes, MaybeBytesIterator, OffsetBytesIterator, ReadableStorageTraits, StorageError, StoreKey,
    StorePrefix, WritableStorageTraits,
};

use super::sharding::{Index, OpenShards, Place, Shard, shard_of};
use super::stamp::ChunkStamp;
use crate::error::{Error, Result};
use crate::storage::{Folder, Replacing};

/// Largest number of files since the last sync. It bounds memory, not durability.
const PENDING: usize = 1024;

/// A folder whose files are replaced atomically.
///
/// The file system store of zarrs truncates files in place, so that a crash leaves torn chunks; it also syncs every
/// key, and remembers every key for ever. Here a file is always either the old or the new one. [`sync`](Self::sync)
/// makes everything written since the last call durable; the metadata that reveal it are replaced afterwards.
#[derive(Debug)]
pub(super) struct AtomicStore {
    folder: Arc<dyn Folder>,
    /// The folder of temporary files; `None` where each is made in the folder of its target, which spreads many of
    /// them over the disk.
    scratch: Option<String>,
    /// Of files that are revealed later; `None` when every file is durable before it is renamed.
    hidden: Option<Mutex<Hidden>>,
    /// Whether length and checksum of each file are kept until they are [taken](Self::take_stamp).
    stamps: bool,
    /// Where chunks of several dates share a file.
    shards: Option<OpenShards>,
}

/// Files that are not revealed yet.
#[derive(Debug, Default)]
struct Hidden {
    /// Files that [`sync`](AtomicStore::sync) waits for.
    pending: Vec<String>,
    /// Length and checksum of files that nobody has [taken](AtomicStore::take_stamp) yet.
    stamps: BTreeMap<String, ChunkStamp>,
}

impl AtomicStore {
    /// A store for files that readers see at once: every file is durable before it is renamed. Temporary files are in
    /// `scratch`.
    pub(super) fn visible(folder: Arc<dyn Folder>, scratch: &str) -> Self {
        Self { folder, scratch: Some(scratch.to_owned()), hidden: None, stamps: false, shards: None }
    }

    /// A store for files that are revealed later, after a [`sync`](Self::sync).
    pub(super) fn hidden(folder: Arc<dyn Folder>) -> Self {
        Self { folder, scratch: None, hidden: Some(Mutex::default()), stamps: false, shards: None }
    }

    /// The same, which keeps the length and checksum of each file until they are [taken](Self::take_stamp).
    pub(super) fn stamped(folder: Arc<dyn Folder>) -> Self {
        Self { stamps: true, ..Self::hidden(folder) }
    }

    /// The same for a series of `planned` dates, where so many `dates` of a tile share a file; stamps are those of single
    /// chunks.
    pub(super) fn sharded(folder: Arc<dyn Folder>, dates: usize, planned: usize) -> Self {
        let shards = (dates > 1).then(|| OpenShards::new(dates, planned));
        Self { shards, ..Self::stamped(folder) }
    }

    pub(super) fn folder(&self) -> &dyn Folder {
        &*self.folder
    }

    /// Replaces a file.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_file(name, &mut |file| file.write_all(bytes)).map_err(|error| self.cannot_write(name, error))
    }

    /// Replaces a file with JSON, pretty-printed, because people open these files.
    pub(super) fn write_json(&self, name: &str, document: &impl Serialize) -> Result<()> {
        let written = self.write_file(name, &mut |mut file| {
            serde_json::to_writer_pretty(&mut file, document)?;
            file.write_all(b"\n")
        });
        written.map_err(|error| self.cannot_write(name, error))
    }

    fn cannot_write(&self, name: &str, error: io::Error) -> Error {
        io_error(&self.folder.path_of(name), "cannot write", error)
    }

    fn write_file(&self, name: &str, write: crate::storage::Writer<'_>) -> io::Result<()> {
        let how = Replacing { durable: self.hidden.is_none(), scratch: self.scratch.as_deref() };
        self.folder.replace(name, how, write)?;
        self.settle(name)
    }

    /// Writes a chunk, or removes it.
    fn write_chunk(&self, name: &str, contents: Option<Bytes>) -> io::Result<()> {
        match (&self.shards, contents) {
            (Some(shards), contents) => {
                shards.put(self.folder(), name, contents)?.into_iter().try_for_each(|shard| self.write_shard(shard))
            }
            (None, Some(contents)) => self.write_file(name, &mut |file| file.write_all(&contents)),
            (None, None) => self.remove(name),
        }
    }

    fn write_shard(&self, (name, shard): (String, Shard)) -> io::Result<()> {
        if shard.is_empty() { self.remove(&name) } else { self.write_file(&name, &mut |file| shard.write(file)) }
    }

    /// Its folder must be on disk without it before its date is revealed.
    fn remove(&self, name: &str) -> io::Result<()> {
        if self.folder.remove(name)? { self.settle(name) } else { Ok(()) }
    }

    /// Makes a change of a file of a hidden store durable with the next [`sync`](Self::sync).
    fn settle(&self, name: &str) -> io::Result<()> {
        let full = self.with_hidden(|hidden| {
            hidden.pending.push(name.to_owned());
            if hidden.pending.len() >= PENDING { std::mem::take(&mut hidden.pending) } else { Vec::new() }
        });
        self.folder.sync(&full.unwrap_or_default()).map_err(|(_, error)| error)
    }

    /// Length and checksum of a file as it was written last; `None` when it was removed.
    pub(super) fn take_stamp(&self, key: &StoreKey) -> Option<ChunkStamp> {
        self.with_hidden(|hidden| hidden.stamps.remove(key.as_str())).flatten()
    }

    fn with_hidden<R>(&self, call: impl FnOnce(&mut Hidden) -> R) -> Option<R> {
        self.hidden.as_ref().map(|hidden| call(&mut hidden.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Writes the shards that are not full yet, as far as they go.
    pub(super) fn write_shards(&self) -> Result<()> {
        for (name, shard) in self.shards.iter().flat_map(OpenShards::unwritten) {
            self.write_shard((name.clone(), shard)).map_err(|error| self.cannot_write(&name, error))?;
        }
        Ok(())
    }

    /// Waits until everything written so far survives a power loss.
    pub(super) fn sync(&self) -> Result<()> {
        let written = self.with_hidden(|hidden| std::mem::take(&mut hidden.pending)).unwrap_or_default();
        self.folder.sync(&written).map_err(|(path, error)| io_error(&path, "cannot sync", error))
    }
}

pub(super) fn io_error(path: &Path, action: &str, error: io::Error) -> Error {
    Error::Store { path: path.to_path_buf(), problem: format!("{action}: {error}"), source: Some(Box::new(error)) }
}

impl WritableStorageTraits for AtomicStore {
    fn set(&self, key: &StoreKey, value: Bytes) -> std::result::Result<(), StorageError> {
        // Outside of the lock, which all writing threads share.
        let stamp = self.stamps.then(|| ChunkStamp::of(&value));
        self.write_chunk(key.as_str(), Some(value))?;
        if let Some(stamp) = stamp {
            self.with_hidden(|hidden| hidden.stamps.insert(key.as_str().to_owned(), stamp));
        }
        Ok(())
    }

    fn set_partial_many(&self, key: &StoreKey, _: OffsetBytesIterator<'_>) -> std::result::Result<(), StorageError> {
        Err(StorageError::Unsupported(format!("{key}: chunks are written in full")))
    }

    fn erase(&self, key: &StoreKey) -> std::result::Result<(), StorageError> {
        self.take_stamp(key);
        Ok(self.write_chunk(key.as_str(), None)?)
    }

    fn erase_prefix(&self, prefix: &StorePrefix) -> std::result::Result<(), StorageError> {
        Err(StorageError::Unsupported(format!("{prefix}: chunks are erased one by one")))
    }

    fn supports_set_partial(&self) -> bool {
        false
    }
}

/// A folder as zarrs reads it, where chunks that share a file have keys of their own.
#[derive(Debug)]
pub(super) struct ReadStore {
    folder: Arc<dyn Folder>,
    /// Dates that share a file.
    dates: usize,
}

impl ReadStore {
    pub(super) fn new(folder: &Arc<dyn Folder>) -> Self {
        Self { folder: Arc::clone(folder), dates: 1 }
    }

    /// The same where so many dates of a tile share a file.
    pub(super) fn sharded(&self, dates: usize) -> Self {
        Self { folder: Arc::clone(&self.folder), dates }
    }

    /// Whether a key is of a chunk that shares its file with others.
    fn is_shared(&self, key: &StoreKey) -> bool {
        self.dates > 1 && shard_of(key.as_str(), self.dates).is_some()
    }

    /// The file of such a chunk, and where the chunk is in it; `None` of one that is not stored.
    fn place(&self, key: &StoreKey) -> io::Result<Option<Place>> {
        let Some((shard, position)) = shard_of(key.as_str(), self.dates) else { return Ok(None) };
        let index = Index::read(&*self.folder, &shard, self.dates)?;
        Ok(index.and_then(|index| index.of(position)).map(|place| (shard, place)))
    }
}

impl ReadableStorageTraits for ReadStore {
    fn get(&self, key: &StoreKey) -> std::result::Result<MaybeBytes, StorageError> {
        if !self.is_shared(key) {
            return Ok(self.folder.read(key.as_str())?.map(Bytes::from));
        }
        let Some((file, place)) = self.place(key)? else { return Ok(None) };
        Ok(self.folder.read_range(&file, place)?.map(Bytes::from))
    }

    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        ranges: ByteRangeIterator<'a>,
    ) -> std::result::Result<MaybeBytesIterator<'a>, StorageError> {
        let Some(size) = self.size_key(key)? else { return Ok(None) };
        let key = key.clone();
        let gone = move |key: &StoreKey| StorageError::Other(format!("{key}: is gone since its length was asked for"));
        // A chunk among others is read as a whole: it is what one request is for.
        if self.is_shared(&key) {
            let Some(chunk) = self.get(&key)? else { return Ok(None) };
            let part = move |range: ByteRange| {
                let place = range.start(size) as usize..range.end(size) as usize;
                if place.end <= chunk.len() { Ok(chunk.slice(place)) } else { Err(gone(&key)) }
            };
            return Ok(Some(Box::new(ranges.map(part))));
        }
        let read = move |range: ByteRange| {
            let bytes = self.folder.read_range(key.as_str(), range.start(size)..range.end(size))?;
            bytes.map(Bytes::from).ok_or_else(|| gone(&key))
        };
        Ok(Some(Box::new(ranges.map(read))))
    }

    fn size_key(&self, key: &StoreKey) -> std::result::Result<Option<u64>, StorageError> {
        if self.is_shared(key) {
            return Ok(self.place(key)?.map(|(_, place)| place.end - place.start));
        }
        Ok(self.folder.sizes(&[key.as_str().to_owned()])?.first().copied().flatten())
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::Disk;

    fn disk(folder: &tempfile::TempDir) -> Arc<dyn Folder> {
        Arc::new(Disk::new(folder.path()))
    }

    #[test]
    fn files_are_replaced_whole_and_stamped() {
        let folder = tempfile::tempdir().unwrap();
        let store = AtomicStore::stamped(disk(&folder));
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
        AtomicStore::visible(disk(&folder), "").write("zarr.json", b"{}").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing temporary is left");
    }

    #[test]
    fn pending_files_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = AtomicStore::hidden(disk(&folder));
        for k in 0..PENDING + 10 {
            store.set(&StoreKey::new(format!("k{k}")).unwrap(), Bytes::from_static(b"x")).unwrap();
        }
        assert_eq!(store.with_hidden(|hidden| hidden.pending.len()), Some(10));
    }
}
