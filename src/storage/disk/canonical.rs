//! Where a store is: one path for each store, whichever way it is spelled.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The absolute path without links, `.` and `..`, so that locks and checkpoints of one store are the same for
/// everybody. The store, and folders above it, need not exist yet.
///
/// # Errors
/// [`Error::Occupied`] for a path that names no folder.
pub(in crate::storage) fn canonical(path: &Path) -> Result<PathBuf> {
    let refuse = |state: &str| Err(Error::Occupied { path: path.to_path_buf(), state: state.into() });
    if path.as_os_str().is_empty() {
        return refuse("the path is empty");
    }
    let absolute = if path.is_absolute() { path.to_path_buf() } else { Path::new(".").join(path) };
    // From the end on, what does not exist yet.
    let (mut existing, mut missing) = (absolute.as_path(), Vec::<OsString>::new());
    let found = loop {
        match existing.canonicalize() {
            Ok(found) => break found,
            Err(_) if fs::symlink_metadata(existing).is_ok_and(|entry| entry.is_symlink()) => {
                return refuse("a link that leads nowhere");
            }
            Err(_) => match (existing.components().next_back(), existing.parent()) {
                (Some(Component::Normal(name)), Some(parent)) => {
                    missing.push(name.to_owned());
                    existing = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                }
                _ => return refuse("its path has \"..\" behind a folder that does not exist"),
            },
        }
    };
    let place = missing.into_iter().rev().fold(found, |place, name| place.join(name));
    if place.file_name().is_none() { refuse("the root of the file system") } else { Ok(place) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_one_path() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let within = |name: &str| canonical(&folder.path().join(name));
        fs::create_dir_all(folder.path().join("deep/store")).unwrap();
        for (name, expected) in [
            ("a.zarr", "a.zarr"),
            ("./deep/../a.zarr/", "a.zarr"),
            ("deep/store/..", "deep"),
            ("new/below/a.zarr", "new/below/a.zarr"),
        ] {
            assert_eq!(within(name).unwrap(), real.join(expected), "{name}");
        }
        assert!(within("new/..").unwrap_err().to_string().contains("\"..\" behind a folder"));
        assert!(within("new/../a.zarr").is_err());
        for path in ["", "/"] {
            assert!(matches!(canonical(Path::new(path)), Err(Error::Occupied { .. })), "{path:?}");
        }
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(canonical(Path::new("no-such.zarr")).unwrap(), here.join("no-such.zarr"));
        assert_eq!(canonical(Path::new(".")).unwrap(), here);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("deep/store"), folder.path().join("link")).unwrap();
            std::os::unix::fs::symlink(folder.path().join("nowhere"), folder.path().join("dangling")).unwrap();
            assert_eq!(within("link").unwrap(), real.join("deep/store"));
            assert_eq!(within("link/a.zarr").unwrap(), real.join("deep/store/a.zarr"));
            assert!(within("dangling").unwrap_err().to_string().contains("leads nowhere"));
        }
    }
}
