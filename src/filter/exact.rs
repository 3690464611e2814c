//! Sums that do not depend on the order of their terms.

use serde::{Deserialize, Serialize};

/// A sum that does not depend on the order of its terms: fixed point with 2⁻⁴⁰ resolution, exact addition.
///
/// Tiles and threads decide the order in which windows and cells finish; the report must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExactSum(Option<i128>);

impl Default for ExactSum {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl ExactSum {
    const SCALE: f64 = (1_u64 << 40) as f64;
    const LARGEST: f64 = 1e37;

    pub(crate) fn add(&mut self, value: f64) {
        let term = (value * Self::SCALE).round_ties_even();
        // A term that is not a number, or is too large for any sum, makes the sum invalid for good. It must not count
        // as zero.
        let fits = term.abs() < Self::LARGEST;
        self.0 = self.0.filter(|_| fits).and_then(|sum| sum.checked_add(term as i128));
    }

    /// Adds [fixed-point](FixedPoint::from_term) terms that were summed elsewhere.
    pub(super) fn add_fixed(&mut self, sum: i64) {
        self.0 = self.0.and_then(|own| own.checked_add(i128::from(sum)));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0 = self.0.zip(other.0).and_then(|(a, b)| a.checked_add(b));
    }

    pub(crate) fn value(self) -> f64 {
        self.0.map_or(f64::NAN, |sum| sum as f64 / Self::SCALE)
    }
}

/// The rounding of [`ExactSum::add`] in vector instructions, for terms below [`LIMIT`](Self::LIMIT).
pub(super) struct FixedPoint;

impl FixedPoint {
    /// Terms of this size and more do not fit. The sum of 2¹³ terms below it does not overflow.
    pub(super) const LIMIT: f64 = 1024.0;

    /// Numbers near 1.5 × 2⁵² are integers. Adding this constant rounds to the nearest integer, ties to even, into
    /// the low bits.
    const INTEGER_SHIFT: f64 = 6_755_399_441_055_744.0;

    #[inline(always)]
    pub(super) fn from_term(term: f64) -> i64 {
        (term * ExactSum::SCALE + Self::INTEGER_SHIFT).to_bits().wrapping_sub(Self::INTEGER_SHIFT.to_bits()) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_order() {
        let terms: Vec<f64> = (0..1000).map(|k| (f64::from(k) * 0.7).sin() * 10.0_f64.powi(k % 12)).collect();
        let (mut forward, mut backward) = (ExactSum::default(), ExactSum::default());
        terms.iter().for_each(|t| forward.add(*t));
        terms.iter().rev().for_each(|t| backward.add(*t));
        assert_eq!(forward.value().to_bits(), backward.value().to_bits());
        let (mut some, mut rest) = (ExactSum::default(), ExactSum::default());
        terms[..300].iter().for_each(|t| some.add(*t));
        terms[300..].iter().for_each(|t| rest.add(*t));
        rest.merge(some);
        assert_eq!(rest, forward);
        backward.add(f64::NAN);
        assert!(backward.value().is_nan());
        rest.merge(backward);
        assert!(rest.value().is_nan());
        assert!((forward.value() - terms.iter().sum::<f64>()).abs() < 1e-3);
    }

    #[test]
    fn both_ways_of_rounding_agree() {
        let ties = (0..64).map(|k| (f64::from(k) - 32.5) / ExactSum::SCALE);
        let others = (0..5000).map(|k| (f64::from(k) * 0.37).sin() * 10.0_f64.powi(k % 16 - 12) * 0.1);
        for term in ties.chain(others).chain([0.0, -0.0, 1023.999, -1023.999]) {
            let (mut slow, mut fast) = (ExactSum::default(), ExactSum::default());
            slow.add(term);
            fast.add_fixed(FixedPoint::from_term(term));
            assert_eq!(slow, fast, "{term:e}");
        }
    }
}
