//! The folder of checkpoints next to a store. Only files of its own names are ever touched, and only in a folder that
//! carries its marker.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{StateFile, failed};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::storage::{Folder, Place, Presence, is_temporary};

/// The folder that holds the checkpoints of a series, next to its store.
#[derive(Clone, Debug)]
pub(in crate::engine) struct StateFolder {
    folder: Arc<dyn Folder>,
}

/// The checkpoints of a series, by tile, the newest first.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct StateList {
    pub(in crate::engine) records: BTreeMap<(usize, usize), Vec<StateFile>>,
    pub(in crate::engine) lights: BTreeMap<(usize, usize), Vec<StateFile>>,
    /// What visible dates were made from.
    pub(in crate::engine) shown: BTreeMap<(usize, usize), Vec<StateFile>>,
}

pub(super) const STATE: &str = "state";
pub(super) const LIGHT: &str = "light";
pub(super) const SHOWN: &str = "shown";

/// Marks a folder as one of checkpoints.
const MARKER: &str = ".rasterfuse";

/// For people who look into it.
const ABOUT: &str =
    "Checkpoints of a series that rasterfuse has fused. They belong to the store next to this folder.\n";

impl StateFolder {
    /// The folder at a place.
    ///
    /// # Errors
    /// Those of a place that cannot be one.
    pub(in crate::engine) fn new(place: &Place) -> Result<Self> {
        Ok(Self { folder: place.folder()? })
    }

    pub(in crate::engine) fn folder(&self) -> &dyn Folder {
        &*self.folder
    }

    pub(in crate::engine) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates the folder with its marker. Refuses one that holds anything but has no marker.
    pub(in crate::engine) fn claim(&self) -> Result<()> {
        let foreign = |state: &str| Error::Occupied { path: self.path().to_path_buf(), state: state.into() };
        let failed = |error: io::Error| Error::Store {
            path: self.path().to_path_buf(),
            problem: format!("cannot create the folder of checkpoints: {error}"),
            source: Some(Box::new(error)),
        };
        if self.folder.presence().map_err(failed)? == Presence::File {
            return Err(foreign("a file where checkpoints would go"));
        }
        self.folder.make().map_err(failed)?;
        // Another process may be doing the same: whatever it writes, it has written the marker first.
        if self.folder.presence().map_err(failed)? == Presence::Filled && !self.folder.has(MARKER).map_err(failed)? {
            return Err(foreign("a folder without the marker of checkpoints, which this version of rasterfuse writes"));
        }
        self.folder.create(MARKER, ABOUT.as_bytes()).map(drop).map_err(failed)
    }

    /// Whether there is a folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be told.
    pub(in crate::engine) fn is_there(&self) -> Result<bool> {
        let presence = self.folder.presence().map_err(|error| failed(self.path(), error))?;
        Ok(presence != Presence::Nothing)
    }

    /// Whether the folder is one of checkpoints.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be told.
    pub(in crate::engine) fn is_ours(&self) -> Result<bool> {
        self.folder.has(MARKER).map_err(|error| failed(self.path(), error))
    }

    /// What there is.
    pub(in crate::engine) fn list(&self) -> Result<StateList> {
        let mut list = StateList::default();
        for name in self.names()? {
            let Some((tile, date, kind)) = parse_name(&name) else { continue };
            let files = match kind {
                STATE => &mut list.records,
                LIGHT => &mut list.lights,
                _ => &mut list.shown,
            };
            files.entry(tile).or_default().push(StateFile { tile, date, folder: Arc::clone(&self.folder), name });
        }
        let lists = [&mut list.records, &mut list.lights, &mut list.shown];
        for files in lists.into_iter().flat_map(BTreeMap::values_mut) {
            files.sort_by_key(|file| std::cmp::Reverse(file.date));
        }
        Ok(list)
    }

    /// The light state of a tile on a date.
    pub(in crate::engine) fn light(&self, tile: (usize, usize), date: Date) -> StateFile {
        self.file(tile, date, LIGHT)
    }

    pub(super) fn file(&self, tile: (usize, usize), date: Date, kind: &str) -> StateFile {
        let name = format!("tile-{}-{}.{date}.{kind}", tile.0, tile.1);
        StateFile { tile, date, folder: Arc::clone(&self.folder), name }
    }

    /// Removes every checkpoint of a series that no longer exists.
    pub(in crate::engine) fn clear(&self) -> Result<()> {
        self.remove_where(|name| parse_name(name).is_some())
    }

    /// Removes what killed runs have left; nobody else may be at work.
    pub(in crate::engine) fn sweep(&self) -> Result<()> {
        self.folder.sweep("", false).map_err(|error| failed(self.path(), error))
    }

    /// Removes checkpoints and locks, and the folder, unless it holds something else.
    pub(in crate::engine) fn remove(&self) -> Result<()> {
        self.remove_where(|name| parse_name(name).is_some() || is_temporary(name) || is_lock(name))?;
        // The marker last: what is left of a removal that was interrupted is still ours.
        self.remove_where(|name| name == MARKER)?;
        if !self.folder.dissolve().map_err(|error| failed(self.path(), error))? {
            tracing::warn!("{}: holds files that are not checkpoints, and is kept", self.path().display());
        }
        Ok(())
    }

    /// Removes the lock of a tile, which no process holds.
    pub(in crate::engine) fn unlock(&self, (row, col): (usize, usize)) -> Result<()> {
        self.remove_file(&format!("tile-{row}-{col}.lock"))
    }

    fn remove_where(&self, ours: impl Fn(&str) -> bool) -> Result<()> {
        self.names()?.iter().filter(|name| ours(name)).try_for_each(|name| self.remove_file(name))
    }

    fn remove_file(&self, name: &str) -> Result<()> {
        self.folder.remove(name).map(drop).map_err(|error| failed(&self.folder.path_of(name), error))
    }

    /// Names of files; none where there is no folder.
    fn names(&self) -> Result<Vec<String>> {
        self.folder.names("").map_err(|error| failed(self.path(), error))
    }
}

/// Tile, date and kind of `tile-0-3.2020-04-09.state`.
fn parse_name(name: &str) -> Option<((usize, usize), Date, &str)> {
    let mut parts = name.split('.');
    let (tile, date, kind) = (parse_tile(parts.next()?)?, parts.next()?, parts.next()?);
    let known = parts.next().is_none() && [STATE, LIGHT, SHOWN].contains(&kind);
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
    use std::fs;

    use super::*;

    #[test]
    fn only_files_of_ours_are_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fused.zarr.state");
        let state = StateFolder::new(&Place::from(&path)).unwrap();
        let is_there = |name: &str| path.join(name).exists();
        let write = |name: &str| fs::write(path.join(name), "").unwrap();
        fs::create_dir(&path).unwrap();
        write("notes.txt");
        assert!(state.claim().unwrap_err().to_string().contains("without the marker"));
        fs::remove_file(path.join("notes.txt")).unwrap();
        state.claim().unwrap();
        state.claim().unwrap();
        let ours = ["state", "light", "shown"].map(|kind| format!("tile-0-1.2024-01-01.{kind}"));
        let locks = ["run.lock", "begin.lock", "tile-0-1.lock", ".tile-0-1.0123456789abcdef.partial"];
        let foreign = ["notes.state", "tile-0-1.state", "tile-0-1.2024-01-01.state.bak", "my.lock", "a.partial"];
        ours.iter().for_each(|name| write(name));
        locks.iter().chain(&foreign).for_each(|name| write(name));
        assert_eq!(state.list().unwrap().records.len(), 1);
        state.clear().unwrap();
        assert!(!ours.iter().any(|name| is_there(name)) && locks.iter().chain(&foreign).all(|name| is_there(name)));
        ours.iter().for_each(|name| write(name));
        state.remove().unwrap();
        assert!(!ours.iter().any(|name| is_there(name)) && !locks.iter().any(|name| is_there(name)));
        assert!(foreign.iter().all(|name| is_there(name)));
        assert!(state.claim().is_err(), "a folder of other files");
        foreign.iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
        state.claim().unwrap();
        state.remove().unwrap();
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(state.claim().unwrap_err().to_string().contains("a file where"));
    }
}
