//! Whether an attribute `valid_range` fits the numbers that are stored.

/// Smallest bound of a range that looks like that of packed integers.
const PACKED: f64 = 1000.0;

/// Whether a valid range, which CF gives in stored numbers, looks like that of others: of floats that are not `scaled`, one
/// of the packed integers that they were; of integers that are scaled, one of the values that they become.
pub(in crate::source) fn is_odd_range((low, high): (f64, f64), floats: bool, scaled: bool) -> bool {
    let bounds = || [low, high].into_iter().filter(|bound| bound.abs() < f64::MAX);
    let whole = bounds().all(|bound| bound.fract() == 0.0);
    let largest = bounds().fold(0.0, |largest: f64, bound| largest.max(bound.abs()));
    match (floats, scaled) {
        (true, false) => whole && largest >= PACKED,
        (false, true) => !whole || largest <= 1.0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_other_numbers_are_recognised() {
        for (range, floats, scaled, odd) in [
            ((0.0, 10_000.0), true, false, true),
            ((-28_672.0, f64::INFINITY), true, false, true),
            ((0.0, 1.0), true, false, false),
            ((0.0, 1.5), true, false, false),
            ((0.0, 10_000.0), true, true, false),
            ((0.0, 10_000.0), false, true, false),
            ((0.0, 1.0), false, true, true),
            ((-0.2, 1.6), false, true, true),
            ((0.0, 1.0), false, false, false),
            ((f64::MIN, 100.0), false, true, false),
        ] {
            assert_eq!(is_odd_range(range, floats, scaled), odd, "{range:?} {floats} {scaled}");
        }
    }
}
