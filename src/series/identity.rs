//! Which series a store, a record or a checkpoint belongs to.

use serde::{Deserialize, Serialize};

use crate::error::ChunkFault;
use crate::geometry::Date;
use crate::machine::random;

/// The identity of a series: a random id for life, and a generation that grows whenever dates are added or made anew.
///
/// The store, its records of chunks and every checkpoint carry it, so that state of another series, or of an older
/// or newer copy of this one, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SeriesIdentity {
    /// 32 hexadecimal digits.
    pub id: String,
    /// 1 when the series begins.
    pub generation: u64,
    /// Whether dates that were processed before are being made anew.
    #[serde(default)]
    pub replaying: bool,
}

impl SeriesIdentity {
    /// The identity of a new series.
    #[must_use]
    pub fn random() -> Self {
        Self { id: format!("{:016x}{:016x}", random(), random()), generation: 1, replaying: false }
    }

    /// The same series, changed once more.
    #[must_use]
    pub fn next(&self, replaying: bool) -> Self {
        Self { id: self.id.clone(), generation: self.generation.saturating_add(1), replaying }
    }
}

/// When the newest checkpoint of a tile was saved: later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Saved {
    /// Generation of the series.
    pub generation: u64,
    /// The last date that it has passed.
    pub date: Date,
}

/// Chunks that are listed; of others only the number is kept.
const LISTED: usize = 1000;

/// What a sink holds of one tile.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HeldBlocks {
    /// Chunks that are not there as they were written, by date: the first thousand.
    pub faults: Vec<ChunkFault>,
    /// Number of all of them.
    pub count: usize,
    /// Position on the output axis of the first date that is not held as it was written.
    pub first: Option<usize>,
    /// The newest checkpoint that the sink was told of.
    pub saved: Option<Saved>,
}

impl HeldBlocks {
    /// Adds a chunk that is not there as it was written.
    pub fn add(&mut self, fault: ChunkFault) {
        self.count += 1;
        self.first = Some(self.first.map_or(fault.time, |first| first.min(fault.time)));
        if self.faults.len() < LISTED {
            self.faults.push(fault);
        }
    }

    /// Adds those of another tile.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.into_iter().chain(other.first).min();
        self.faults.extend(other.faults.into_iter().take(LISTED.saturating_sub(self.faults.len())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unlike_each_other() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| SeriesIdentity::random().id).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }
}
