//! Folders in memory that move to a disk, once and as a whole, when they become large or memory becomes scarce.
//!
//! While they move, what writes waits; what reads finds every file, in memory or on the disk, with the same bytes.

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::memory::{Memory, MemoryFolder};
use super::options::StorageOptions;
use super::{Disk, Folder, Guard, Hold, Presence, Replacing, Writer};
use crate::machine;

/// Share of memory that must be free for a small store.
const LEAST_FREE: f64 = 0.05;

/// Bytes written between two looks at the machine's memory.
const LOOK: u64 = 16 << 20;

/// A store that is in memory or on the disk.
#[derive(Debug)]
pub(super) struct Overlay {
    memory: Arc<Memory>,
    /// Where its folder on the disk is made.
    parent: PathBuf,
    /// When it moves.
    options: StorageOptions,
    /// The folder on the disk, once it was needed. It is removed with the store.
    made: OnceLock<PathBuf>,
    /// Whether all files are on the disk.
    moved: AtomicBool,
    /// Held together by what writes, alone by what moves.
    gate: RwLock<()>,
    /// Bytes written so far.
    written: AtomicU64,
}

impl Overlay {
    pub(super) fn new(parent: PathBuf, options: &StorageOptions) -> Self {
        Self {
            memory: Arc::default(),
            parent,
            options: *options,
            made: OnceLock::new(),
            moved: AtomicBool::new(false),
            gate: RwLock::default(),
            written: AtomicU64::new(0),
        }
    }

    /// The folder on the disk, which is made when it is asked for.
    fn root(&self) -> io::Result<&Path> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        fs::create_dir_all(&self.parent)?;
        let path = self.parent.join(format!("rasterfuse-{:016x}", machine::random()));
        fs::create_dir(&path)?;
        Ok(self.made.get_or_init(|| path))
    }

    fn is_moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }

    /// Whether it is time to move, `written` bytes after the last look.
    fn is_full(&self, written: u64) -> io::Result<bool> {
        let held = self.memory.bytes();
        if held > self.options.move_to_disk {
            return Ok(true);
        }
        let before = self.written.fetch_add(written, Ordering::SeqCst);
        if before / LOOK == (before + written) / LOOK && held <= self.options.keep_in_memory {
            return Ok(false);
        }
        let free = machine::free_memory_share().map_err(io::Error::other)?;
        Ok(free < if held > self.options.keep_in_memory { self.options.free_memory } else { LEAST_FREE })
    }

    /// Moves all files to the disk. What fails leaves them in memory.
    fn go(&self) -> io::Result<()> {
        let _alone = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        if self.is_moved() {
            return Ok(());
        }
        let root = self.root()?;
        let files = self.memory.all();
        for (key, contents) in &files {
            let write: Writer<'_> = &mut |file| file.write_all(contents);
            Disk::new(root).replace(&format!("store{key}"), Replacing::default(), write)?;
        }
        self.moved.store(true, Ordering::SeqCst);
        self.memory.clear();
        tracing::info!("{} files moved from memory to {}", files.len(), root.display());
        Ok(())
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Some(made) = self.made.get()
            && let Err(error) = fs::remove_dir_all(made)
        {
            tracing::warn!("{}: cannot remove this temporary store: {error}", made.display());
        }
    }
}

/// A folder of such a store.
#[derive(Clone, Debug)]
pub(super) struct OverlayFolder {
    store: Arc<Overlay>,
    memory: MemoryFolder,
    /// What is appended to the name of the first folder.
    suffix: String,
}

impl OverlayFolder {
    /// The folder of a store; `path` for messages.
    pub(super) fn new(store: Arc<Overlay>, path: PathBuf) -> Self {
        let memory = MemoryFolder::new(Arc::clone(&store.memory), path);
        Self { store, memory, suffix: String::new() }
    }

    fn disk(&self) -> io::Result<Disk> {
        Ok(Disk::new(self.store.root()?.join(format!("store{}", self.suffix))))
    }

    /// Looks in memory, and on the disk where the files are there by then.
    fn look<T>(&self, look: impl Fn(&dyn Folder) -> io::Result<T>) -> io::Result<T> {
        if !self.store.is_moved() {
            let found = look(&self.memory)?;
            if !self.store.is_moved() {
                return Ok(found);
            }
        }
        look(&self.disk()?)
    }

    /// Changes files where they are; they do not move meanwhile.
    fn change<T>(&self, change: impl FnOnce(&dyn Folder) -> io::Result<T>) -> io::Result<T> {
        let _still = self.store.gate.read().unwrap_or_else(PoisonError::into_inner);
        if self.store.is_moved() { change(&self.disk()?) } else { change(&self.memory) }
    }

    /// Moves all files when it is time to.
    fn settle(&self, written: u64) -> io::Result<()> {
        if self.store.is_moved() || !self.store.is_full(written)? {
            return Ok(());
        }
        self.store.go().map_err(|error| {
            let problem = format!("cannot move from memory to a disk, {}: {error}", self.store.parent.display());
            io::Error::new(error.kind(), problem)
        })
    }
}

impl Folder for OverlayFolder {
    fn path(&self) -> &Path {
        self.memory.path()
    }

    fn beside(&self, suffix: &str) -> Arc<dyn Folder> {
        let memory = self.memory.sibling(suffix);
        Arc::new(Self { store: Arc::clone(&self.store), memory, suffix: format!("{}{suffix}", self.suffix) })
    }

    fn presence(&self) -> io::Result<Presence> {
        self.look(|folder| folder.presence())
    }

    fn make(&self) -> io::Result<()> {
        self.change(|folder| folder.make())
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        self.look(|folder| folder.open(name))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        self.look(|folder| folder.read_range(name, range.clone()))
    }

    fn read_end(&self, name: &str, length: u64) -> io::Result<Option<Vec<u8>>> {
        self.look(|folder| folder.read_end(name, length))
    }

    fn sizes(&self, names: &[String]) -> io::Result<Vec<Option<u64>>> {
        self.look(|folder| folder.sizes(names))
    }

    fn names(&self, within: &str) -> io::Result<Vec<String>> {
        self.look(|folder| folder.names(within))
    }

    fn replace(&self, name: &str, how: Replacing<'_>, write: Writer<'_>) -> io::Result<()> {
        self.change(|folder| folder.replace(name, how, write))?;
        let written = self.sizes(&[name.to_owned()])?.first().copied().flatten();
        self.settle(written.unwrap_or(0))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        self.change(|folder| {
            folder.make()?;
            folder.create(name, bytes)
        })
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        self.change(|folder| folder.remove(name))
    }

    fn sync(&self, _: &[String]) -> Result<(), (PathBuf, io::Error)> {
        // It ends with its process, so that nothing is to survive a power loss.
        Ok(())
    }

    fn sweep(&self, within: &str, deep: bool) -> io::Result<()> {
        self.change(|folder| folder.sweep(within, deep))
    }

    fn dissolve(&self) -> io::Result<bool> {
        self.change(|folder| folder.dissolve())
    }

    fn lock(&self, name: &str, hold: Hold) -> io::Result<Option<Box<dyn Guard>>> {
        // Locks are those of one process, wherever the files are.
        self.memory.lock(name, hold)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        machine::free_bytes(&self.store.parent).map(Some)
    }
}
