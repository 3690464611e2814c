//! Pixels that gates refuse again and again: what lies beyond a gate for several dates is a change, not a cloud.

use crate::model::ObservationModel;

/// On how many dates in a row each pixel of a window lay beyond its gate, for instruments that follow such pixels.
#[derive(Debug, Default)]
pub(in crate::engine) struct Refusals {
    /// By instrument; empty for those that do not follow.
    counts: Vec<Vec<u8>>,
}

impl Refusals {
    /// None yet, of windows with so many pixels of each instrument.
    pub(in crate::engine) fn new(instruments: &[ObservationModel], pixels: impl Fn(usize) -> usize) -> Self {
        let of = |(k, instrument): (usize, &ObservationModel)| {
            vec![0; if instrument.follow.is_some() { pixels(k) } else { 0 }]
        };
        Self { counts: instruments.iter().enumerate().map(of).collect() }
    }

    /// Whether a pixel is refused that lies beyond its gate or within. After `follow` dates beyond it passes, until it
    /// has been within: where cells revert to a mean, one value alone would soon be forgotten.
    pub(super) fn refuses(&mut self, (instrument, pixel): (usize, usize), beyond: bool, follow: Option<u8>) -> bool {
        let Some(follow) = follow else { return beyond };
        let count = &mut self.counts[instrument][pixel];
        let refused = beyond && *count < follow;
        *count = if beyond { count.saturating_add(1).min(follow) } else { 0 };
        refused
    }

    pub(in crate::engine) fn append_snapshot(&self, target: &mut Vec<u8>) {
        self.counts.iter().for_each(|counts| target.extend_from_slice(counts));
    }

    /// Returns the bytes that follow its own.
    pub(in crate::engine) fn restore_snapshot<'a>(&mut self, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        for counts in &mut self.counts {
            let (own, rest) = bytes.split_at_checked(counts.len())?;
            counts.copy_from_slice(own);
            bytes = rest;
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_again_and_again_passes() {
        let mut refusals = Refusals { counts: vec![vec![], vec![0, 0]] };
        let mut passes = |gate: [bool; 6]| gate.map(|refused| refusals.refuses((1, 1), refused, Some(3)));
        assert_eq!(passes([true; 6]), [true, true, true, false, false, false]);
        // One date within the gate, and it counts anew.
        assert_eq!(passes([false, true, true, false, true, true]), [false, true, true, false, true, true]);
        assert!(refusals.refuses((0, 7), true, None));
        let mut bytes = Vec::new();
        refusals.append_snapshot(&mut bytes);
        assert_eq!(bytes, [0, 2]);
        let mut other = Refusals { counts: vec![vec![], vec![0, 0]] };
        assert_eq!(other.restore_snapshot(&[0, 2, 9]), Some(&[9][..]));
        assert_eq!(other.counts, refusals.counts);
        assert_eq!(other.restore_snapshot(&[0]), None);
    }
}
