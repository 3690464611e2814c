//! Text fragments of error messages.

use std::path::Path;

use super::shown::shown;
use super::{ChunkFault, Error, Key, SettingDifference};
use crate::geometry::{Crs, Date};

/// A setting, with the file that it was read from.
pub(super) fn setting(file: Option<&Path>, key: &Key, problem: &str) -> String {
    match file {
        Some(file) => format!("{}: {key}: {problem}", file.display()),
        None => format!("{key}: {problem}"),
    }
}

/// The file that a message is about, in front of it.
pub(super) fn in_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!("{}: ", file.display()))
}

/// Files of an instrument or a key, with the TOML file that lists them.
pub(super) fn input(file: Option<&Path>, what: &str, source: &Error) -> String {
    let problem = match source {
        Error::NoFiles { key, pattern, problem } => format!("{key}: {}", no_files(pattern, problem)),
        Error::NoDate { key, path, pattern, format, problem } => {
            format!("{key}: {}", no_date(path, (key, pattern, format), problem))
        }
        other => other.to_string(),
    };
    match file {
        Some(file) => format!("{}: {what}: {problem}", file.display()),
        None => format!("{what}: {problem}"),
    }
}

pub(super) fn no_files(pattern: &str, problem: &str) -> String {
    format!("no file matches {pattern:?}; {problem}")
}

/// A date pattern that fails, with its key and the `strftime` form of its first group.
pub(super) fn no_date(path: &Path, (key, pattern, format): (&str, &str, &str), problem: &str) -> String {
    format!("{}: {problem} ({key} = '{pattern}', {key}_format = {format:?})", shown(path))
}

/// Of a key that is left to be estimated, and the others that are.
pub(super) fn left_free(others: &[Key]) -> String {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let others = if others.is_empty() { String::new() } else { format!(" (as are {})", others.join(", ")) };
    format!("left to \"estimate\"{others}; estimate first, and fuse with the description that is written")
}

/// In which parts of their texts two CRS differ, in parentheses.
pub(super) fn crs_difference(found: &Crs, expected: &Crs) -> String {
    match found.difference(expected).as_str() {
        "" => String::new(),
        difference => format!(": {difference}"),
    }
}

pub(super) fn crs_advice(found: &Crs, expected: &Crs) -> &'static str {
    if found.is_unknown() {
        "give its CRS with `crs`, such as crs = \"EPSG:4326\" (in code the builder's `crs`); for a GeoTIFF also with \
         gdal_edit.py -a_srs"
    } else if expected.is_unknown() {
        "give target.crs"
    } else {
        "warp it first, for example with gdalwarp, or give an instrument reproject = \"nearest\" (in code StackBuilder::onto)"
    }
}

/// `71.3 MiB` and the like. Rounds up or down so that a sufficient number stays sufficient, and an insufficient one
/// insufficient.
pub(super) fn size(bytes: u64, up: bool) -> String {
    let units = [("TiB", 40, 100), ("GiB", 30, 100), ("MiB", 20, 10), ("KiB", 10, 10)];
    let Some((unit, shift, parts)) = units.into_iter().find(|(_, shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} bytes");
    };
    let exact = u128::from(bytes) * parts;
    let rounded = if up { exact.div_ceil(1 << shift) } else { exact >> shift };
    let digits = if parts == 100 { 2 } else { 1 };
    format!("{}.{:0digits$} {unit}", rounded / parts, rounded % parts)
}

pub(super) fn on_date(date: Option<Date>) -> String {
    date.map_or_else(String::new, |date| format!(" ({date})"))
}

/// Advice where shards that start at the same moment plan different tiles; the tiles of the first one apply.
fn tile_advice(differences: &[SettingDifference]) -> &'static str {
    match differences {
        [one] if one.key == "output.tile" => {
            "; if the tile was chosen by the memory there is, run again: it is the store's then"
        }
        _ => "",
    }
}

/// What differs, and what to do. Settings of another version of the numerics have other names and forms: that alone is said.
pub(super) fn settings_differ(differences: &[SettingDifference]) -> String {
    if let Some(SettingDifference { stored, given, .. }) = differences.iter().find(|one| one.key == "numerics") {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".into());
        return format!(
            "it was made by another version of this crate (numerics {}, here {}), whose values may differ; finish it with that version, \
             or choose another `output.store` and begin anew",
            version(stored),
            version(given)
        );
    }
    let list = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let advice = tile_advice(differences);
    format!("it was made with other settings: {list}; take back the change, or choose another `output.store`{advice}")
}

/// Some chunks that are amiss: how many, and the first of them by array, tile and date.
pub(super) fn chunk_list(faults: &[ChunkFault], count: usize) -> String {
    const LISTED: usize = 10;
    let names: Vec<String> = faults.iter().take(LISTED).map(ToString::to_string).collect();
    let more = if count > LISTED { ", ..." } else { "" };
    let what = if count == 1 { "chunk is" } else { "chunks are" };
    format!("{count} {what} not there as written: {}{more}", names.join(", "))
}

/// The first tiles of a list.
pub(super) fn tile_list(tiles: &[(usize, usize)]) -> String {
    const LISTED: usize = 20;
    let names: Vec<String> = tiles.iter().take(LISTED).map(|(row, col)| format!("[{row}, {col}]")).collect();
    let more = if tiles.len() > LISTED { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn another_version_is_named_alone() {
        let one = |key: &str| SettingDifference { key: key.into(), stored: Some("2".into()), given: Some("3".into()) };
        let other = settings_differ(&[one("process.phi"), one("numerics")]);
        assert!(other.contains("numerics 2, here 3") && !other.contains("phi"), "{other}");
        assert!(settings_differ(&[one("process.phi")]).contains("process.phi was 2, is 3"));
    }

    #[test]
    fn rounded_sizes_still_are_or_are_not_enough() {
        for (bytes, down, up) in [
            (1000, "1000 bytes", "1000 bytes"),
            (8 << 20, "8.0 MiB", "8.0 MiB"),
            ((8 << 20) + 1, "8.0 MiB", "8.1 MiB"),
            ((1 << 30) - 1, "1023.9 MiB", "1024.0 MiB"),
            ((5 << 30) / 2 + 1, "2.50 GiB", "2.51 GiB"),
            (u64::MAX, "16777215.99 TiB", "16777216.00 TiB"),
        ] {
            assert_eq!((size(bytes, false).as_str(), size(bytes, true).as_str()), (down, up));
        }
        for k in 0..100_000_u64 {
            let bytes = k * k * 997 + k;
            let read = |up: bool| size(bytes, up).replace(" bytes", " B").parse::<ByteSize>().unwrap().as_u64();
            assert!(read(false) <= bytes && bytes <= read(true), "{bytes}");
        }
    }
}
