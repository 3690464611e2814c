//! Snapshots of states as bytes, for checkpoints: little-endian, lower triangles only, and only slots in use.

use super::history::History;
use super::{Real, State};

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

impl<T: Real> State<T> {
    /// Appends all parts of the state that depend on the past: mean, covariance, lagged states, history and process
    /// noise factors.
    pub fn append_snapshot(&self, target: &mut Vec<u8>) {
        append_values(&self.mean, target);
        (0..self.n()).for_each(|j| append_values(self.cov.column(j), target));
        self.lags.append_snapshot(target);
        if let Some(history) = &self.history {
            history.append_snapshot(target);
        }
        append_values(&self.factors, target);
    }

    /// Restores the state that was [appended](Self::append_snapshot), bit by bit. Returns the remaining bytes.
    ///
    /// The state must have been constructed in the same way. It may have a longer lag than the snapshot, as long as
    /// none of the stored times had been dropped.
    ///
    /// # Errors
    /// [`SnapshotMismatch`] when there are too few bytes or the shape differs. The state must then not be used.
    pub fn restore_snapshot<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], SnapshotMismatch> {
        let mut reader = SnapshotReader { bytes };
        reader.values(&mut self.mean)?;
        for j in 0..self.mean.len() {
            reader.values(self.cov.column_mut(j))?;
        }
        self.lags.restore_snapshot(&mut reader)?;
        self.history.as_mut().map_or(Ok(()), |history: &mut History| history.restore_snapshot(&mut reader))?;
        reader.values(&mut self.factors)?;
        Ok(reader.bytes)
    }
}
