//! Snapshots of states as bytes, for checkpoints: little-endian, lower triangles only, and only slots in use.

use super::bytes::{SnapshotReader, append_values};
use super::{Real, SnapshotMismatch, State};

impl<T: Real> State<T> {
    /// Appends all parts of the state that depend on the past: means, covariance, lagged states, history and process
    /// noise factors. Parallel means follow the first one; without them there is nothing in their place.
    pub fn append_snapshot(&self, target: &mut Vec<u8>) {
        append_values(&self.mean, target);
        append_values(&self.parallel, target);
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
        let mut reader = SnapshotReader::new(bytes);
        reader.values(&mut self.mean)?;
        reader.values(&mut self.parallel)?;
        for j in 0..self.mean.len() {
            reader.values(self.cov.column_mut(j))?;
        }
        self.lags.restore_snapshot(&mut reader)?;
        self.history.as_mut().map_or(Ok(()), |history| history.restore_snapshot(&mut reader))?;
        reader.values(&mut self.factors)?;
        Ok(reader.rest())
    }
}
