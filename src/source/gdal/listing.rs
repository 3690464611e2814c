//! Names of files in folders of servers and of GDAL's other file systems.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::QuietErrors;
use super::address::gdal_name;
use super::quiet::{STORES, answer, forget_answer};
use super::server::{Requests, answered, forget};
use crate::source::Remote;

/// Times that a list is asked for again where it broke off, unless given.
const AGAIN: u32 = 4;

/// Names in a folder, relative to it and sorted; with `deep`, of files in all folders below. Empty where there are none.
///
/// # Errors
/// What the server answered in place of a list, or of a part of it.
pub(in crate::source) fn names_in(folder: &str, deep: bool, remote: &Remote) -> Result<Vec<String>, String> {
    let path = Path::new(folder);
    let _quiet = QuietErrors::new();
    let mut requests = Requests::new(remote);
    // Of a list of several pages that breaks off GDAL gives the first ones. Its messages for developers alone say so.
    requests.set("CPL_DEBUG", true, STORES);
    let mut pause = remote.retry_seconds.unwrap_or(1.0);
    let mut again = remote.retries.unwrap_or(AGAIN);
    loop {
        forget(path);
        forget_answer();
        // GDAL does not distinguish an empty folder from one that cannot be listed.
        let found = gdal::vsi::read_dir(gdal_name(path), deep).unwrap_or_default();
        if found.is_empty() && !deep && folder.contains("http") {
            // Of web servers it hears the status only where it looks at the folder itself.
            let itself = format!("{}/", gdal_name(path).display());
            let _ = gdal::vsi::read_dir(itself, true);
        }
        let Some(said) = answer() else {
            let names = found.iter().map(|name| name.to_string_lossy().into_owned());
            let mut names: Vec<String> = names.filter(|name| !matches!(name.as_str(), "." | "..")).collect();
            names.sort();
            return Ok(names);
        };
        let problem = answered(path, &said).unwrap_or_else(|| format!("the server broke off its list ({said:.200})"));
        let lasting = ["HTTP status 4", "AccessDenied", "NoSuch", "Invalid", "SignatureDoesNotMatch"];
        if again == 0 || lasting.iter().any(|status| problem.contains(status)) {
            return Err(problem);
        }
        thread::sleep(Duration::from_secs_f64(pause));
        (again, pause) = (again - 1, 2.0 * pause);
    }
}
