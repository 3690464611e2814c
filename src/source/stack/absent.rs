//! Why a pattern finds nothing: brackets that are meant as they are, files that are still packed or hold many rasters.

use std::fs;
use std::path::Path;

/// Endings of files that hold others.
const ARCHIVES: [&str; 7] = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".gz", ".7z"];

/// Endings of files that hold rasters by name.
const CONTAINERS: [&str; 6] = [".nc", ".nc4", ".h5", ".hdf5", ".he5", ".hdf"];

/// Advice where a pattern would find files if its brackets were no wildcards; `band` is what stands for a band in it.
pub(super) fn brackets(pattern: &str, band: &str) -> Option<String> {
    let plain: String = pattern
        .chars()
        .map(|character| match character {
            '[' => "[[]".into(),
            ']' => "[]]".into(),
            other => other.to_string(),
        })
        .collect();
    let found = glob::glob(&plain.replace(band, "*")).ok()?.flatten().next().filter(|_| plain != pattern)?;
    Some(format!(
        "`[` begins a set of characters, of which one stands there: for {} write `[[]` in its place ({plain:?})",
        found.display()
    ))
}

/// Advice where a folder holds files that must be unpacked, or opened by the names of what is in them.
pub(super) fn archives(folder: &str) -> Option<String> {
    let folder = if folder.is_empty() { Path::new(".") } else { Path::new(folder) };
    let mut names: Vec<String> =
        fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let ending = |ends: &[&str]| {
        let found: Vec<&String> =
            names.iter().filter(|name| ends.iter().any(|end| name.to_lowercase().ends_with(end))).collect();
        Some((found.len(), (*found.first()?).clone()))
    };
    if let Some((count, first)) = ending(&ARCHIVES) {
        return Some(format!("{count} archives lie there, such as {first}: unpack them"));
    }
    let (count, first) = ending(&CONTAINERS)?;
    let driver = match first.rsplit('.').next() {
        Some("nc" | "nc4") => "NETCDF",
        Some("hdf") => "HDF4_EOS:EOS_GRID",
        _ => "HDF5",
    };
    Some(format!(
        "{count} files that hold several rasters lie there, such as {first}: name the one to read, as in '{driver}:\"*\":{{band}}', or \
         read a file of many dates as a `series`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let advice = || archives(path).unwrap_or_default();
        assert_eq!(advice(), "");
        fs::write(folder.path().join("a.nc"), "").unwrap();
        assert!(advice().contains("a.nc") && advice().contains("NETCDF:\"*\":{band}"), "{}", advice());
        fs::write(folder.path().join("S2A.SAFE.zip"), "").unwrap();
        assert!(advice().contains("S2A.SAFE.zip: unpack"), "{}", advice());
        fs::write(folder.path().join("scene[1]_20240101.tif"), "").unwrap();
        let advice = brackets(&format!("{path}/scene[1]_*.tif"), "{band}").unwrap();
        assert!(advice.contains("scene[1]_20240101.tif") && advice.contains("scene[[]1[]]_*.tif"), "{advice}");
        assert_eq!(brackets(&format!("{path}/scene[12]_*.tif"), "{band}"), None);
        assert_eq!(brackets(&format!("{path}/scene_*.tif"), "{band}"), None);
    }
}
