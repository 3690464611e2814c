//! Numbers as little-endian bytes, for snapshots.

use super::Real;

/// Bytes that do not hold the snapshot of a state of this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of a state of this shape")]
pub struct SnapshotMismatch;

/// Reads values from the front of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotReader<'a> {
    bytes: &'a [u8],
}

impl<'a> SnapshotReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes that have not been taken.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], SnapshotMismatch> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(SnapshotMismatch)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn values<T: Real>(&mut self, target: &mut [T]) -> Result<(), SnapshotMismatch> {
        let bytes = self.bytes(size_of_val(target))?;
        target.iter_mut().zip(bytes.chunks_exact(size_of::<T>())).for_each(|(value, bytes)| *value = T::parse(bytes));
        Ok(())
    }

    pub(super) fn count(&mut self) -> Result<usize, SnapshotMismatch> {
        let bytes = self.bytes(size_of::<u64>())?.try_into().map_err(|_| SnapshotMismatch)?;
        usize::try_from(u64::from_le_bytes(bytes)).map_err(|_| SnapshotMismatch)
    }
}

pub(super) fn append_values<T: Real>(values: &[T], target: &mut Vec<u8>) {
    values.iter().for_each(|value| value.append(target));
}

pub(super) fn append_count(count: usize, target: &mut Vec<u8>) {
    target.extend_from_slice(&(count as u64).to_le_bytes());
}
