//! Pixels that gates refuse again and again: what lies beyond a gate for several dates is a change, not a cloud.

use crate::model::ObservationModel;

/// On how many dates in a row pixels lay beyond their gates, for instruments that follow such pixels.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By instrument.
    followed: Vec<Option<Followed>>,
}

/// The pixels of an instrument.
#[derive(Debug, PartialEq)]
struct Followed {
    /// Dates in a row on which one is refused at most.
    dates: u8,
    /// Of each, those so far; no more than `dates`.
    counts: Vec<u8>,
}

impl Refusals {
    /// None yet, of so many pixels of each instrument.
    pub(super) fn new(instruments: &[ObservationModel], pixels: impl Fn(usize) -> usize) -> Self {
        let of = |(k, instrument): (usize, &ObservationModel)| {
            instrument.follow.map(|dates| Followed { dates, counts: vec![0; pixels(k)] })
        };
        Self { followed: instruments.iter().enumerate().map(of).collect() }
    }

    /// Whether a pixel is refused that lies beyond its gate or within. After so many dates beyond it passes, until it
    /// has been within: where cells revert to a mean, one value alone would soon be forgotten.
    pub(super) fn refuses(&mut self, (instrument, pixel): (usize, usize), beyond: bool) -> bool {
        let Some(Followed { dates, counts }) = &mut self.followed[instrument] else { return beyond };
        let count = &mut counts[pixel];
        let refused = beyond && *count < *dates;
        *count = if beyond { count.saturating_add(1).min(*dates) } else { 0 };
        refused
    }

    /// One byte of each pixel.
    pub(super) fn append_snapshot(&self, target: &mut Vec<u8>) {
        self.followed.iter().flatten().for_each(|of| target.extend_from_slice(&of.counts));
    }

    /// Returns the bytes that follow its own.
    pub(super) fn restore_snapshot<'a>(&mut self, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        for Followed { counts, .. } in self.followed.iter_mut().flatten() {
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

    fn refusals() -> Refusals {
        Refusals { followed: vec![None, Some(Followed { dates: 3, counts: vec![0, 0] })] }
    }

    #[test]
    fn what_is_refused_again_and_again_passes() {
        let mut first = refusals();
        let mut refused = |beyond: [bool; 6]| beyond.map(|beyond| first.refuses((1, 1), beyond));
        assert_eq!(refused([true; 6]), [true, true, true, false, false, false]);
        // One date within the gate, and it counts anew.
        assert_eq!(refused([false, true, true, false, true, true]), [false, true, true, false, true, true]);
        // Instruments that do not follow refuse for good.
        assert!((0..9).all(|_| first.refuses((0, 7), true)));
        let mut bytes = Vec::new();
        first.append_snapshot(&mut bytes);
        assert_eq!(bytes, [0, 2]);
        let mut other = refusals();
        assert_eq!(other.restore_snapshot(&[0, 2, 9]), Some(&[9][..]));
        assert_eq!(other.followed, first.followed);
        assert_eq!(other.restore_snapshot(&[0]), None);
    }
}
