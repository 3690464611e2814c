//! Where files lie in a stack: most of them in the same place, which they share.

use std::sync::Arc;

use super::location::StackLocation;

/// Placements that are compared with a new one: those of other granules of the scenes under a target.
const COMPARED: usize = 64;

/// A file as the stack reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placement {
    pub(super) location: StackLocation,
    /// Size of its pixels in those of the view, of data that are read on another grid and reach the target.
    pub(super) native: Option<(f64, f64)>,
    /// Where its bands are in another order than those of the first file: the position of each of these.
    pub(super) order: Option<Box<[usize]>>,
}

/// Placements that occurred, the last ones last.
#[derive(Debug, Default)]
pub(super) struct Placements(Vec<Arc<Placement>>);

impl Placements {
    pub(super) fn shared(&mut self, placement: Placement) -> Arc<Placement> {
        if let Some(same) = self.0.iter().rev().take(COMPARED).find(|held| ***held == placement) {
            return Arc::clone(same);
        }
        let placement = Arc::new(placement);
        self.0.push(Arc::clone(&placement));
        placement
    }
}
