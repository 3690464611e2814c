//! States as bytes, for checkpoints: little-endian, lower triangles only, no more than what the past has written.

use super::bytes::{SnapshotReader, put_values};
use super::{Real, SnapshotMismatch, State};

impl<T: Real> State<T> {
    /// Appends everything that the past has made of the state: mean, covariance, remembered times, history and
    /// the factors that change goes by.
    pub fn append_snapshot(&self, target: &mut Vec<u8>) {
        put_values(&self.mean, target);
        (0..self.n()).for_each(|j| put_values(self.cov.column(j), target));
        self.lags.append_snapshot(target);
        if let Some(history) = &self.history {
            history.append_snapshot(target);
        }
        put_values(&self.factors, target);
    }

    /// Makes the state what it was when it [was appended](Self::append_snapshot), bit by bit; gives the bytes after it.
    ///
    /// The state must have been made alike; it may remember more times than then, as long as none had been dropped.
    ///
    /// # Errors
    /// [`SnapshotMismatch`] when the bytes are too few or speak of another shape. The state is then of no use.
    pub fn restore_snapshot<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], SnapshotMismatch> {
        let mut reader = SnapshotReader::new(bytes);
        reader.values(&mut self.mean)?;
        for j in 0..self.mean.len() {
            reader.values(self.cov.column_mut(j))?;
        }
        self.lags.restore_snapshot(&mut reader)?;
        self.history.as_mut().map_or(Ok(()), |history| history.restore_snapshot(&mut reader))?;
        reader.values(&mut self.factors)?;
        Ok(reader.rest())
    }
}
