//! GDAL's block cache, which all datasets of the process share.

use crate::machine;

const KEY: &str = "GDAL_CACHEMAX";

/// Cache limit in MiB, unless the environment or the application has set [`KEY`]. A tile reads each block once, so a
/// larger cache wastes memory.
const DEFAULT_MIB: &str = "16";

/// GDAL's default where the size of the machine's memory is unknown.
const FALLBACK_BYTES: u64 = 40 << 20;

/// Numbers below this are in MiB, others in bytes.
const LEAST_IN_BYTES: u64 = 100_000;

fn setting() -> Option<String> {
    gdal::config::get_config_option(KEY, "").ok().filter(|value| !value.is_empty())
}

pub(crate) fn limit_block_cache() {
    if setting().is_none()
        && let Err(error) = gdal::config::set_config_option(KEY, DEFAULT_MIB)
    {
        tracing::warn!(%error, "cannot limit GDAL's block cache");
    }
}

/// Stops GDAL from listing the folder of every file that it opens, which is slow in folders with thousands of files.
/// A setting of the environment or the application takes precedence. Sidecar files are still found by name.
pub(super) fn disable_folder_listing() {
    const KEY: &str = "GDAL_DISABLE_READDIR_ON_OPEN";
    if gdal::config::get_config_option(KEY, "").is_ok_and(|value| value.is_empty())
        && let Err(error) = gdal::config::set_config_option(KEY, "TRUE")
    {
        tracing::warn!(%error, "cannot keep GDAL from listing folders");
    }
}

/// Upper bound on the memory of the cache.
pub(in crate::source) fn block_cache_bytes() -> u64 {
    let ram = || machine::memory_bytes().ok();
    parse(setting().as_deref().unwrap_or(DEFAULT_MIB), ram)
}

/// Parses the setting as GDAL does: `n%` of the memory, MiB, or bytes. Later versions also accept units.
fn parse(text: &str, ram: impl Fn() -> Option<u64>) -> u64 {
    let text = text.trim();
    if text.contains('%') {
        let number = &text[..text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len())];
        let share = number.parse::<f64>().unwrap_or(0.0) / 100.0;
        return ram().map_or(FALLBACK_BYTES, |bytes| (bytes as f64 * share) as u64);
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number = number.parse::<u64>().unwrap_or(0);
    let factor = match unit.trim_start().as_bytes().first().map(u8::to_ascii_lowercase) {
        Some(b'k') => 1 << 10,
        Some(b'm') => 1 << 20,
        Some(b'g') => 1 << 30,
        _ if number < LEAST_IN_BYTES => 1 << 20,
        _ => 1,
    };
    number.saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_gdal_does() {
        let ram = || Some(8 << 30);
        for (text, bytes) in [
            ("16", 16 << 20),
            ("99999", 99_999 << 20),
            ("100000", 100_000),
            (" 67108864 ", 64 << 20),
            ("5%", (8_u64 << 30) / 20),
            ("12.5%", 1 << 30),
            ("512MB", 512 << 20),
            ("2 GB", 2 << 30),
            ("0", 0),
            ("-3", 0),
            ("many", 0),
        ] {
            assert_eq!(parse(text, ram), bytes, "{text}");
        }
        assert_eq!(parse("5%", || None), FALLBACK_BYTES);
    }
}
