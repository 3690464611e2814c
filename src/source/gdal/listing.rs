//! Names of files in folders of servers and of GDAL's other file systems.

use std::path::Path;

use super::QuietErrors;
use super::address::gdal_name;
use super::quiet::{answer, forget_answer};
use super::server::{Requests, answered, forget};
use crate::source::Remote;

/// Names in a folder, relative to it and sorted; with `deep`, of files in all folders below. Empty where there are none.
///
/// # Errors
/// What the server answered in place of a list.
pub(in crate::source) fn names_in(folder: &str, deep: bool, remote: &Remote) -> Result<Vec<String>, String> {
    let path = Path::new(folder);
    let _quiet = QuietErrors::new();
    let _requests = Requests::new(remote);
    forget(path);
    forget_answer();
    match gdal::vsi::read_dir(gdal_name(path), deep) {
        Ok(found) => {
            let names = found.iter().map(|name| name.to_string_lossy().into_owned());
            let mut names: Vec<String> = names.filter(|name| !matches!(name.as_str(), "." | "..")).collect();
            names.sort();
            Ok(names)
        }
        // GDAL does not tell an empty folder from one that cannot be listed, but for what the server said.
        Err(_) => answer().and_then(|said| answered(path, &said)).map_or_else(|| Ok(Vec::new()), Err),
    }
}
