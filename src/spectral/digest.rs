//! Hash of a list of numbers, for the comparison of settings.

/// A hash of a list. Different lists have different hashes, except by an unlikely chance.
pub(super) fn digest<'a>(values: impl Iterator<Item = &'a f64>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    values.for_each(|value| hasher.update(&value.to_le_bytes()));
    hasher.finalize()
}
