//! Folders on a disk, whose files are written under another name and renamed.

mod canonical;
mod replace;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Folder, Guard, Hold, Presence, Replacing, Writer, found};
use crate::machine;
pub(super) use canonical::canonical;
pub(crate) use replace::{is_temporary, replace};
use replace::{sweep, sweep_all};

/// A folder on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    root: PathBuf,
}

impl Disk {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Folder for Disk {
    fn path(&self) -> &Path {
        &self.root
    }

    fn beside(&self, suffix: &str) -> Arc<dyn Folder> {
        let mut name = self.root.file_name().unwrap_or_default().to_os_string();
        name.push(suffix);
        Arc::new(Self::new(self.root.with_file_name(name)))
    }

    fn presence(&self) -> io::Result<Presence> {
        let there = match self.root.try_exists() {
            // With a file on its way nothing is there, and what creates it says so.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => false,
            there => there?,
        };
        if !there {
            return Ok(Presence::Nothing);
        }
        if !self.root.is_dir() {
            return Ok(Presence::File);
        }
        Ok(if fs::read_dir(&self.root)?.next().is_none() { Presence::Empty } else { Presence::Filled })
    }

    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        sync_parent(&self.root)
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let file = open_file(&self.path_of(name))?;
        Ok(file.map(|file| Box::new(BufReader::new(file)) as Box<dyn Read + Send>))
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = open_file(&self.path_of(name))? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = open_file(&self.path_of(name))? else { return Ok(None) };
        let end = range.end.min(file.metadata()?.len());
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = vec![0; end.saturating_sub(range.start) as usize];
        file.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn read_end(&self, name: &str, length: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = open_file(&self.path_of(name))? else { return Ok(None) };
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn sizes(&self, names: &[String]) -> io::Result<Vec<Option<u64>>> {
        let size = |name: &String| match found(fs::metadata(self.path_of(name))) {
            Ok(file) => Ok(file.filter(fs::Metadata::is_file).map(|file| file.len())),
            Err(error) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
        };
        names.iter().map(size).collect()
    }

    fn names(&self, within: &str) -> io::Result<Vec<String>> {
        let Some(entries) = found(fs::read_dir(self.path_of(within)))? else { return Ok(Vec::new()) };
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        entries.map(name).collect()
    }

    fn replace(&self, name: &str, how: Replacing<'_>, write: Writer<'_>) -> io::Result<()> {
        let path = self.path_of(name);
        let scratch = how.scratch.map(|scratch| self.path_of(scratch));
        let scratch = scratch.as_deref().or(path.parent()).unwrap_or(&self.root);
        replace(&path, scratch, how.durable, |file| write(file))?;
        if how.durable { sync_files(&self.root, &[path]).map_err(|(_, error)| error) } else { Ok(()) }
    }

    fn create(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        match File::create_new(self.path_of(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            file => io::Write::write_all(&mut file?, bytes).map(|()| true),
        }
    }

    fn remove(&self, name: &str) -> io::Result<bool> {
        Ok(found(fs::remove_file(self.path_of(name)))?.is_some())
    }

    fn sync(&self, names: &[String]) -> Result<(), (PathBuf, io::Error)> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.path_of(name)).collect();
        sync_files(&self.root, &paths)
    }

    fn sweep(&self, within: &str, deep: bool) -> io::Result<()> {
        let folder = self.path_of(within);
        if deep { sweep_all(&folder) } else { sweep(&folder) }
    }

    fn dissolve(&self) -> io::Result<bool> {
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    fn lock(&self, name: &str, hold: Hold) -> io::Result<Option<Box<dyn Guard>>> {
        let path = self.path_of(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
        // NFS grants shared locks only on files that are open for reading.
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path)?;
        let locked = match hold {
            Hold::Exclusive => file.try_lock(),
            Hold::Shared => file.try_lock_shared(),
            Hold::Waiting => file.lock().map_err(TryLockError::Error),
        };
        match locked {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network file systems have no locks; users must then separate processes themselves.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                tracing::warn!(
                    "{}: this file system has no locks; make sure that no two processes share a tile",
                    path.display()
                );
                Ok(Some(Box::new(file)))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        machine::free_bytes(&self.root).map(Some)
    }
}

/// Opens what is a file. Opening a pipe would wait for somebody who writes into it.
fn open_file(path: &Path) -> io::Result<Option<File>> {
    match found(fs::metadata(path))? {
        None => Ok(None),
        Some(what) if what.is_file() => found(File::open(path)),
        Some(what) => {
            let what = if what.is_dir() { "a folder" } else { "a pipe or a device" };
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}, not a file")))
        }
    }
}

/// An advisory lock ends when its file is closed.
impl Guard for File {}

fn has_no_locks(error: &io::Error) -> bool {
    // The error code of Linux for a network file system that is mounted without its lock service.
    const NO_LOCKS: i32 = 37;
    error.kind() == io::ErrorKind::Unsupported || (cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_LOCKS))
}

/// Makes the name of a folder survive a power loss.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// From this number of files on, the full file system is synced at once, which takes about as long as a few single
/// files.
#[cfg(all(target_os = "linux", any(feature = "gdal", feature = "zarr")))]
const MANY: usize = 8;

/// Waits for files and for their parent folders.
fn sync_files(root: &Path, files: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
    // The crate for this call comes with these features.
    #[cfg(all(target_os = "linux", any(feature = "gdal", feature = "zarr")))]
    if files.len() >= MANY {
        let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(root)?)?) };
        return sync().map_err(|error| (root.to_path_buf(), error));
    }
    sync_each(root, files)
}

/// Waits for files and for their parent folders, each once.
fn sync_each(root: &Path, files: &[PathBuf]) -> Result<(), (PathBuf, io::Error)> {
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
