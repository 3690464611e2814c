//! Sums and products of bytes that end at the largest number.

pub(super) const WORD: u64 = size_of::<f64>() as u64;

pub(super) fn total(parts: impl IntoIterator<Item = u64>) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

pub(super) fn product(factors: impl IntoIterator<Item = u64>) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}
