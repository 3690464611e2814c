//! Folders in memory: files are vectors of bytes, which live as long as somebody refers to their store.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Cursor, Read};
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::{Folder, Guard, Hold, Presence, Replacing, Writer};
use crate::machine;

/// Bytes of a file, which is replaced but never changed.
pub(super) type Contents = Arc<[u8]>;

/// Stores that have a name, by it.
static NAMED: Mutex<BTreeMap<String, Weak<Memory>>> = Mutex::new(BTreeMap::new());

/// Files and locks of one store and what lies beside it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    files: Mutex<Files>,
    locks: Mutex<HashMap<String, Holders>>,
    released: Condvar,
}

/// Files by name, and their bytes in all.
#[derive(Debug, Default)]
struct Files {
    by_name: BTreeMap<String, Contents>,
    bytes: u64,
}

impl Files {
    fn put(&mut self, name: String, contents: Contents) {
        self.bytes += contents.len() as u64;
        let before = self.by_name.insert(name, contents);
        self.bytes -= before.map_or(0, |before| before.len() as u64);
    }

    fn remove(&mut self, name: &str) -> bool {
        let before = self.by_name.remove(name);
        self.bytes -= before.as_ref().map_or(0, |before| before.len() as u64);
        before.is_some()
    }
}

/// Who holds a lock.
#[derive(Debug, Default)]
struct Holders {
    exclusive: bool,
    shared: usize,
}

impl Memory {
    /// The store of this name in this process; a new one where nobody refers to one.
    pub(super) fn named(name: &str) -> Arc<Self> {
        let mut named = locked(&NAMED);
        named.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = named.get(name).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::new(Self::default());
        named.insert(name.to_owned(), Arc::downgrade(&store));
        store
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        locked(&self.files).bytes
    }

    /// All files, by names that begin with what is appended to the first folder's, and `/`.
    pub(super) fn all(&self) -> Vec<(String, Contents)> {
        locked(&self.files).by_name.iter().map(|(name, contents)| (name.clone(), Arc::clone(contents))).collect()
    }

    /// Forgets all files.
    pub(super) fn clear(&self) {
        *locked(&self.files) = Files::default();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder of a store in memory.
#[derive(Clone, Debug)]
pub(super) struct MemoryFolder {
    memory: Arc<Memory>,
    /// What names of its files begin with: nothing, or that of the folder beside the store.
    beside: String,
    path: PathBuf,
}

impl MemoryFolder {
    /// The folder of a store; `path` for messages.
    pub(super) fn new(memory: Arc<Memory>, path: PathBuf) -> Self {
        Self { memory, beside: String::new(), path }
    }

    /// The folder whose name has `suffix` appended.
    pub(super) fn sibling(&self, suffix: &str) -> Self {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        Self { memory: Arc::clone(&self.memory), beside: format!("{}{suffix}", self.beside), path: path.into() }
    }

    /// The name of a file among those of all folders of the store.
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.beside)
    }

    fn get(&self, name: &str) -> Option<Contents> {
        locked(&self.memory.files).by_name.get(&self.key(name)).cloned()
    }

    /// Calls `keep` with the name of each file that begins with `start`.
    fn each(&self, start: &str, mut keep: impl FnMut(&str) -> bool) {
        let start = self.key(start);
        let files = locked(&self.memory.files);
        for (key, _) in files.by_name.range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded)) {
            match key.strip_prefix(&start) {
                Some(name) if keep(name) => {}
                _ => return,
            }
        }
    }
}

impl Folder for MemoryFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn beside(&self, suffix: &str) -> Arc<dyn Folder> {
        Arc::new(self.sibling(suffix))
    }

    fn presence(&self) -> io::Result<Presence> {
        let mut presence = Presence::Nothing;
        self.each("", |_| {
            presence = Presence::Filled;
            false
        });
        Ok(presence)
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(self.get(name).map(|contents| Box::new(Cursor::new(contents)) as Box<dyn Read + Send>))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        let Some(contents) = self.get(name) else { return Ok(None) };
        let at = |position: u64| usize::try_from(position).map_or(contents.len(), |at| at.min(contents.len()));
        Ok(Some(contents[at(range.start)..at(range.end.max(range.start))].to_vec()))
    }

    fn read_end(&self, name: &str, length: u64) -> io::Result<Option<Vec<u8>>> {
        let start = |size: usize| size.saturating_sub(usize::try_from(length).unwrap_or(size));
        Ok(self.get(name).map(|contents| contents[start(contents.len())..].to_vec()))
    }

    fn sizes(&self, names: &[String]) -> io::Result<Vec<Option<u64>>> {
        Ok(names.iter().map(|name| self.get(name).map(|contents| contents.len() as u64)).collect())
    }

    fn names(&self, within: &str) -> io::Result<Vec<String>> {
        let start = if within.is_empty() { String::new() } else { format!("{within}/") };
        let mut names = Vec::new();
        self.each(&start, |name| {
            if !name.contains('/') {
                names.push(name.to_owned());
            }
            true
        });
        Ok(names)
    }

    fn replace(&self, name: &str, _: Replacing<'_>, write: Writer<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        write(&mut bytes)?;
        locked(&self.memory.files).put(self.key(name), bytes.into());
        Ok(())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        let mut files = locked(&self.memory.files);
        let key = self.key(name);
        let free = !files.by_name.contains_key(&key);
        if free {
            files.put(key, bytes.into());
        }
        Ok(free)
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        Ok(locked(&self.memory.files).remove(&self.key(name)))
    }

    fn lock(&self, name: &str, hold: Hold) -> io::Result<Option<Box<dyn Guard>>> {
        let key = self.key(name);
        let mut locks = locked(&self.memory.locks);
        loop {
            let holders = locks.entry(key.clone()).or_default();
            let free = !holders.exclusive && (hold == Hold::Shared || holders.shared == 0);
            if free {
                match hold {
                    Hold::Shared => holders.shared += 1,
                    Hold::Exclusive | Hold::Waiting => holders.exclusive = true,
                }
                let memory = Arc::clone(&self.memory);
                return Ok(Some(Box::new(MemoryLock { memory, key, shared: hold == Hold::Shared })));
            }
            if hold != Hold::Waiting {
                return Ok(None);
            }
            locks = self.memory.released.wait(locks).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        machine::free_memory_bytes().map(Some).map_err(io::Error::other)
    }
}

/// A lock in memory.
#[derive(Debug)]
struct MemoryLock {
    memory: Arc<Memory>,
    key: String,
    shared: bool,
}

impl Guard for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut locks = locked(&self.memory.locks);
        if let Some(holders) = locks.get_mut(&self.key) {
            if self.shared {
                holders.shared = holders.shared.saturating_sub(1);
            } else {
                holders.exclusive = false;
            }
            if !holders.exclusive && holders.shared == 0 {
                locks.remove(&self.key);
            }
        }
        self.memory.released.notify_all();
    }
}
