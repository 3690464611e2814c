//! Paths as a description names them.

use std::fs;
use std::path::{Path, PathBuf};

/// A path relative to the folder of the description at `config` if it lies there, whole otherwise.
pub(crate) fn relative(path: &Path, config: Option<&Path>) -> PathBuf {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = config.and_then(|config| fs::canonicalize(config).ok()?.parent().map(Path::to_path_buf));
    folder.and_then(|folder| whole.strip_prefix(folder).ok().map(Path::to_path_buf)).unwrap_or(whole)
}
