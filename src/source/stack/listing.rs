//! Files of a pattern on a server, or in another of GDAL's file systems: its folders are listed as far as wildcards need.

use crate::source::Remote;
use crate::source::gdal::names_in;

/// Names that a listing follows at most: a pattern that meets more is a mistake, and would fill the memory.
const MOST: usize = 4_000_000;

/// The part of an address before its folders: `https://`, `s3://`, `/`.
pub(super) fn start_of(address: &str) -> &str {
    match address.find("://") {
        // GDAL's own names may hold an address: /vsicurl/https://...
        Some(end) => &address[..end + "://".len()],
        None => &address[..usize::from(address.starts_with('/'))],
    }
}

/// Whether a part of a pattern has wildcards.
fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// Addresses that may match a wildcard pattern. Where it has none, the address itself, which nothing needs to list.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) fn addresses(pattern: &str, remote: &Remote) -> Result<Vec<String>, String> {
    let start = start_of(pattern);
    let parts: Vec<&str> = pattern[start.len()..].split('/').filter(|part| !part.is_empty()).collect();
    let mut found = vec![String::new()];
    let join = |folder: &str, name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let names = |folder: &str, deep: bool| {
        let listed = names_in(&format!("{start}{folder}"), deep, remote);
        listed.map_err(|problem| format!("{start}{folder} cannot be listed: {problem}"))
    };
    // Of fixed names behind a wildcard nobody knows whether they exist until the folder is listed.
    let mut listed = false;
    for (index, part) in parts.iter().enumerate() {
        let mut next = Vec::new();
        if *part == "**" && pattern.contains("http") {
            let problem = "has `**`, and of a web server nobody knows whether all folders below were listed; give `*` for each level of \
                           folders, or name the files in a `list`";
            return Err(problem.into());
        }
        if *part == "**" {
            for folder in &found {
                let deep = names(folder, true)?;
                next.extend(deep.iter().filter(|name| !name.ends_with('/')).map(|name| join(folder, name)));
            }
            found = next;
            break;
        }
        let last = index + 1 == parts.len();
        for folder in &found {
            let known = !is_wild(part) && (!last || !listed);
            if known {
                next.push(join(folder, part));
                continue;
            }
            let wild = glob::Pattern::new(part).map_err(|error| format!("is not a wildcard pattern: {error}"))?;
            let held = names(folder, false)?;
            let held = held.iter().map(|name| name.trim_end_matches('/')).filter(|name| wild.matches(name));
            next.extend(held.map(|name| join(folder, name)));
        }
        listed |= is_wild(part);
        found = next;
        if found.len() > MOST {
            return Err(format!("more than {MOST} names match its beginning; narrow the pattern"));
        }
    }
    Ok(found.into_iter().map(|name| format!("{start}{name}")).collect())
}
