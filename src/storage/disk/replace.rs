//! Files that are replaced in one step: written under a name that nobody can guess, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use crate::machine::random;

/// What names of temporary files end in.
const SUFFIX: &str = ".partial";

/// Writes a temporary file into the folder `scratch`, on the same file system, and renames it to `path`; creates
/// folders that are missing. With `durable` the contents are on disk before the rename.
pub(crate) fn replace(
    path: &Path,
    scratch: &Path,
    durable: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let (temporary, file) = match temporary(scratch, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(scratch)?;
            temporary(scratch, path)?
        }
        made => made?,
    };
    let written = || {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        if durable { file.sync_all() } else { Ok(()) }
    };
    let rename = || match (fs::rename(&temporary, path), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).and_then(|()| fs::rename(&temporary, path))
        }
        (renamed, _) => renamed,
    };
    let replaced = written().and_then(|()| rename());
    if replaced.is_err() {
        // The disk may be full: no partial file must remain. The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    replaced
}

/// A file that was not there before. `create_new` follows no link (`O_EXCL`).
fn temporary(folder: &Path, target: &Path) -> io::Result<(PathBuf, File)> {
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    loop {
        let path = folder.join(format!(".{name}.{:016x}{SUFFIX}", random()));
        match File::options().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
}

/// Whether a file name is that of a temporary file.
pub(crate) fn is_temporary(name: &str) -> bool {
    let stem = name.strip_prefix('.').and_then(|name| name.strip_suffix(SUFFIX));
    let random = stem.and_then(|stem| stem.rsplit_once('.')).map(|(_, random)| random);
    random.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes the temporary files in a folder that killed runs have left. Nobody else may be writing into it.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The same of a folder and all folders in it.
pub(super) fn sweep_all(folder: &Path) -> io::Result<()> {
    sweep(folder)?;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep_all(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn files_are_replaced_whole_and_leave_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/down/file");
        for content in [&b"first"[..], b"second, longer", b"3"] {
            replace(&path, folder.path(), true, |file| file.write_all(content)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        replace(&path, folder.path(), false, |_| Err(io::Error::other("full"))).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"3");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the folder `deep`");
    }

    #[test]
    fn only_what_killed_runs_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let (left, _) = temporary(folder.path(), Path::new("file")).unwrap();
        let kept = ["notes", ".notes.partial", ".0.partial", ".x.0123456789abcdeg.partial"];
        kept.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        sweep(folder.path()).unwrap();
        assert!(!left.exists());
        assert!(kept.iter().all(|name| folder.path().join(name).exists()));
        sweep(&folder.path().join("none")).unwrap();
    }
}
