//! Where series are kept: folders on a disk, in memory or in an object store, behind one trait. Sinks, records of chunks,
//! checkpoints, locks and readers know only this trait.

mod disk;
mod memory;
#[cfg(feature = "object-store")]
mod object;
mod options;
mod overlay;
mod place;

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(all(feature = "gdal", feature = "zarr"))]
pub(crate) use disk::replace;
#[cfg(feature = "zarr")]
pub(crate) use disk::sync_parent;
pub(crate) use disk::{Disk, is_temporary};
pub use options::StorageOptions;
pub use place::Place;

/// Files by name, as one series or its checkpoints use them. Names are relative, with `/` between their parts.
///
/// Whoever reads a file finds all of the old one or all of the new one.
#[cfg_attr(not(feature = "zarr"), allow(dead_code, reason = "checkpoints alone use less of it"))]
pub(crate) trait Folder: Debug + Send + Sync {
    /// Where it is, for messages.
    fn path(&self) -> &Path;

    /// The folder whose name has `suffix` appended, in the same storage.
    fn beside(&self, suffix: &str) -> Arc<dyn Folder>;

    /// What is there.
    fn presence(&self) -> io::Result<Presence>;

    /// Makes the folder where it is missing, so that it survives a power loss. Default: folders are names, which are not
    /// made.
    fn make(&self) -> io::Result<()> {
        Ok(())
    }

    /// A file from its start; `None` where there is none. What is no file is an error of the kind `InvalidData`.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send>>>;

    /// All of a file.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Some bytes of a file; fewer where it ends before.
    fn read_range(&self, name: &str, range: Range<u64>) -> io::Result<Option<Vec<u8>>>;

    /// The last bytes of a file, in one step; all of one that is shorter.
    fn read_end(&self, name: &str, length: u64) -> io::Result<Option<Vec<u8>>>;

    /// Lengths of files in bytes; `None` where there is none.
    fn sizes(&self, names: &[String]) -> io::Result<Vec<Option<u64>>>;

    /// Whether there is a file.
    fn has(&self, name: &str) -> io::Result<bool> {
        Ok(self.sizes(&[name.to_owned()])?.iter().all(Option::is_some))
    }

    /// Names of the files directly in the folder `within`, without it; `""` is this folder itself.
    fn names(&self, within: &str) -> io::Result<Vec<String>>;

    /// Puts a file in place of the one of this name, if any, in one step.
    fn replace(&self, name: &str, how: Replacing<'_>, write: Writer<'_>) -> io::Result<()>;

    /// Makes a file unless there is one; whether it was made.
    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<bool>;

    /// Removes a file; whether there was one.
    fn remove(&self, name: &str) -> io::Result<bool>;

    /// Waits until files that were replaced or removed, and the folders on their way, survive a power loss. An error
    /// names the file. Default: what was put is safe.
    fn sync(&self, names: &[String]) -> Result<(), (PathBuf, io::Error)> {
        let _ = names;
        Ok(())
    }

    /// Removes what killed runs have left of files being written in the folder `within`; with `deep` also in the folders
    /// in it. Nobody else may be writing. Default: nothing is left.
    fn sweep(&self, within: &str, deep: bool) -> io::Result<()> {
        let _ = (within, deep);
        Ok(())
    }

    /// Removes the folder itself; `false` where it still holds something. Default: it ends with its last file.
    fn dissolve(&self) -> io::Result<bool> {
        Ok(self.presence()? == Presence::Nothing)
    }

    /// A lock by the name of its file; `None` where somebody else holds it. It ends with the guard, and with the process.
    fn lock(&self, name: &str, hold: Hold) -> io::Result<Option<Box<dyn Guard>>>;

    /// Bytes that may still be written; `None` where there is no limit that could be asked for.
    fn free_bytes(&self) -> io::Result<Option<u64>>;

    /// The path of a file, for messages.
    fn path_of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// What writes the contents of a file.
pub(crate) type Writer<'a> = &'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

/// What is where a folder is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Nothing,
    /// Something that is no folder.
    File,
    Empty,
    Filled,
}

/// How a file is replaced, where that is not one step anyway.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replacing<'a> {
    /// Whether the file survives a power loss when it is there; otherwise after the next [`sync`](Folder::sync).
    pub(crate) durable: bool,
    /// The folder of temporary files; that of the file itself where it is `None`.
    pub(crate) scratch: Option<&'a str>,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// By one alone.
    Exclusive,
    /// Together with others who share it.
    Shared,
    /// By one alone, who waits until others release it.
    Waiting,
}

/// A lock that is held.
pub(crate) trait Guard: Debug + Send {}

/// `None` for a file that is not there; nor is one below another file.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests;
