//! The folder of checkpoints next to a store. Only files of its own names are ever touched, and only in a folder that
//! carries its marker.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{StateFile, failed};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::series::{is_temporary, sweep};

/// The folder that holds the checkpoints of a series, next to its store.
#[derive(Clone, Debug)]
pub(in crate::engine) struct StateFolder {
    path: PathBuf,
}

/// The checkpoints of a series, by tile, the newest first.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct StateList {
    pub(in crate::engine) records: BTreeMap<(usize, usize), Vec<StateFile>>,
    pub(in crate::engine) lights: BTreeMap<(usize, usize), Vec<StateFile>>,
}

pub(super) const STATE: &str = "state";
pub(super) const LIGHT: &str = "light";

/// Marks a folder as one of checkpoints.
const MARKER: &str = ".rasterfuse";

/// For people who look into it.
const ABOUT: &str =
    "Checkpoints of a series that rasterfuse has fused. They belong to the store next to this folder.\n";

impl StateFolder {
    pub(in crate::engine) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(in crate::engine) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the folder with its marker. Refuses one that holds anything but has no marker.
    pub(in crate::engine) fn claim(&self) -> Result<()> {
        let foreign = |state: &str| Error::Occupied { path: self.path.clone(), state: state.into() };
        let failed = |error: io::Error| Error::Store {
            path: self.path.clone(),
            problem: format!("cannot create the folder of checkpoints: {error}"),
            source: Some(Box::new(error)),
        };
        if self.path.exists() && !self.path.is_dir() {
            return Err(foreign("a file where checkpoints would go"));
        }
        fs::create_dir_all(&self.path).map_err(failed)?;
        let marker = self.path.join(MARKER);
        // Another process may be doing the same: whatever it writes, it has written the marker first.
        if fs::read_dir(&self.path).map_err(failed)?.next().is_some() && !marker.exists() {
            return Err(foreign("a folder without the marker of checkpoints, which this version of rasterfuse writes"));
        }
        match File::create_new(&marker) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            file => file.and_then(|mut file| io::Write::write_all(&mut file, ABOUT.as_bytes())).map_err(failed),
        }
    }

    /// Whether the folder is one of checkpoints.
    pub(in crate::engine) fn is_ours(&self) -> bool {
        self.path.join(MARKER).exists()
    }

    /// What there is.
    pub(in crate::engine) fn list(&self) -> Result<StateList> {
        let mut list = StateList::default();
        for (name, path) in self.entries()? {
            let Some((tile, date, kind)) = parse_name(&name) else { continue };
            let files = if kind == STATE { &mut list.records } else { &mut list.lights };
            files.entry(tile).or_default().push(StateFile { tile, date, path });
        }
        for files in list.records.values_mut().chain(list.lights.values_mut()) {
            files.sort_by_key(|file| std::cmp::Reverse(file.date));
        }
        Ok(list)
    }

    /// The light state of a tile on a date.
    pub(in crate::engine) fn light(&self, tile: (usize, usize), date: Date) -> StateFile {
        StateFile { tile, date, path: self.file(tile, date, LIGHT) }
    }

    pub(super) fn file(&self, (row, col): (usize, usize), date: Date, kind: &str) -> PathBuf {
        self.path.join(format!("tile-{row}-{col}.{date}.{kind}"))
    }

    /// Removes every checkpoint of a series that no longer exists.
    pub(in crate::engine) fn clear(&self) -> Result<()> {
        self.remove_where(|name| parse_name(name).is_some())
    }

    /// Removes what killed runs have left; nobody else may be at work.
    pub(in crate::engine) fn sweep(&self) -> Result<()> {
        sweep(&self.path).map_err(|error| failed(&self.path, error))
    }

    /// Removes checkpoints and locks, and the folder, unless it holds something else.
    pub(in crate::engine) fn remove(&self) -> Result<()> {
        self.remove_where(|name| parse_name(name).is_some() || is_temporary(name) || is_lock(name))?;
        // The marker last: what is left of a removal that was interrupted is still ours.
        self.remove_where(|name| name == MARKER)?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                tracing::warn!("{}: holds files that are not checkpoints, and is kept", self.path.display());
                Ok(())
            }
            removed => removed.map_err(|error| failed(&self.path, error)),
        }
    }

    /// Removes the lock of a tile, which no process holds.
    pub(in crate::engine) fn unlock(&self, (row, col): (usize, usize)) -> Result<()> {
        remove_file(&self.path.join(format!("tile-{row}-{col}.lock")))
    }

    fn remove_where(&self, ours: impl Fn(&str) -> bool) -> Result<()> {
        let entries = self.entries()?;
        entries.iter().filter(|(name, _)| ours(name)).try_for_each(|(_, path)| remove_file(path))
    }

    /// Names and paths; none where there is no folder.
    fn entries(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| failed(&self.path, error))?,
        };
        let named = |entry: io::Result<fs::DirEntry>| {
            let path = entry.map_err(|error| failed(&self.path, error))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok((name, path))
        };
        entries.map(named).collect()
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, error)),
        _ => Ok(()),
    }
}

/// Tile, date and kind of `tile-0-3.2020-04-09.state`.
fn parse_name(name: &str) -> Option<((usize, usize), Date, &str)> {
    let mut parts = name.split('.');
    let (tile, date, kind) = (parse_tile(parts.next()?)?, parts.next()?, parts.next()?);
    let known = parts.next().is_none() && [STATE, LIGHT].contains(&kind);
    known.then_some((tile, date.parse().ok()?, kind))
}

fn parse_tile(text: &str) -> Option<(usize, usize)> {
    let (row, col) = text.strip_prefix("tile-")?.split_once('-')?;
    Some((row.parse().ok()?, col.parse().ok()?))
}

fn is_lock(name: &str) -> bool {
    let Some(what) = name.strip_suffix(".lock") else { return false };
    ["run", "begin"].contains(&what) || parse_tile(what).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_ours_are_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fused.zarr.state");
        let state = StateFolder::new(path.clone());
        let is_there = |name: &str| path.join(name).exists();
        let write = |name: &str| fs::write(path.join(name), "").unwrap();
        fs::create_dir(&path).unwrap();
        write("notes.txt");
        assert!(state.claim().unwrap_err().to_string().contains("without the marker"));
        fs::remove_file(path.join("notes.txt")).unwrap();
        state.claim().unwrap();
        state.claim().unwrap();
        let ours = ["tile-0-1.2024-01-01.state", "tile-0-1.2024-01-01.light"];
        let locks = ["run.lock", "begin.lock", "tile-0-1.lock", ".tile-0-1.0123456789abcdef.partial"];
        let foreign = ["notes.state", "tile-0-1.state", "tile-0-1.2024-01-01.state.bak", "my.lock", "a.partial"];
        ours.iter().chain(&locks).chain(&foreign).for_each(|name| write(name));
        assert_eq!(state.list().unwrap().records.len(), 1);
        state.clear().unwrap();
        assert!(!ours.iter().any(|name| is_there(name)) && locks.iter().chain(&foreign).all(|name| is_there(name)));
        ours.iter().for_each(|name| write(name));
        state.remove().unwrap();
        assert!(!ours.iter().chain(&locks).any(|name| is_there(name)) && foreign.iter().all(|name| is_there(name)));
        assert!(state.claim().is_err(), "a folder of other files");
        foreign.iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
        state.claim().unwrap();
        state.remove().unwrap();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(state.claim().unwrap_err().to_string().contains("a file where"));
    }
}
