//! Snapshots of cells for checkpoints.

use std::io;

use ndarray::{Array3, ArrayViewMut2, Axis};

use super::CellField;
use super::strip::RowStrip;
use crate::engine::compress::{compress, damaged, decompress};
use crate::geometry::Date;

const WORD: usize = size_of::<f64>();

impl CellField {
    /// The dates that the states of the components describe.
    pub(in crate::engine) fn dates(&self) -> Vec<u8> {
        self.dates.iter().flat_map(|date| date.days_since_epoch().to_le_bytes()).collect()
    }

    pub(in crate::engine) fn restore_dates(&mut self, bytes: &[u8]) -> io::Result<()> {
        let dates =
            bytes.chunks_exact(4).map(|b| Date::from_days(i32::from_le_bytes(b.try_into().unwrap_or_default())));
        if bytes.len() != 4 * self.dates.len() {
            return Err(damaged("it has other components"));
        }
        self.dates.iter_mut().zip(dates).for_each(|(to, date)| *to = date);
        Ok(())
    }

    pub(in crate::engine) fn strips(&self) -> &[RowStrip] {
        &self.strips
    }

    pub(in crate::engine) fn strips_mut(&mut self) -> &mut [RowStrip] {
        &mut self.strips
    }

    /// Means of all components, then the lower triangle of their covariance row by row, predicted to `date`; no state
    /// is later than `date`.
    pub(in crate::engine) fn light(&self, date: Date, values: &mut Array3<f64>) {
        let p = self.model.components();
        for (j, state_date) in self.dates.iter().enumerate() {
            let prediction = self.model.prediction(j, f64::from(date.days_since(*state_date)));
            let write = |mut layer: ArrayViewMut2<'_, f64>, value_of: &dyn Fn(&RowStrip, usize) -> f64| {
                let strips = self.strips.iter().flat_map(|strip| {
                    let cells = strip.mean.len() / p;
                    (j * cells..(j + 1) * cells).map(move |k| (strip, k))
                });
                layer.iter_mut().zip(strips).for_each(|(value, (strip, k))| *value = value_of(strip, k));
            };
            let value_of = |strip: &RowStrip, k: usize| prediction.apply(strip.mean[k], strip.variance[k]);
            write(values.index_axis_mut(Axis(0), j), &|strip, k| value_of(strip, k).0);
            write(values.index_axis_mut(Axis(0), p + crate::spectral::pair(j, j)), &|strip, k| value_of(strip, k).1);
        }
    }
}

impl RowStrip {
    pub(in crate::engine) fn snapshot(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity((self.mean.len() + self.variance.len()) * WORD);
        bytes.extend(self.mean.iter().chain(&self.variance).flat_map(|value| value.to_le_bytes()));
        self.refusals.append_snapshot(&mut bytes);
        compress(&bytes, WORD)
    }

    pub(in crate::engine) fn restore(&mut self, frame: &[u8]) -> io::Result<()> {
        let bytes = decompress(frame, WORD)?;
        let other = || damaged("its cells have another shape");
        let states = (self.mean.len() + self.variance.len()) * WORD;
        let (states, rest) = bytes.split_at_checked(states).ok_or_else(other)?;
        if self.refusals.restore_snapshot(rest).is_none_or(|rest| !rest.is_empty()) {
            return Err(other());
        }
        let values = states.chunks_exact(WORD).map(|b| f64::from_le_bytes(b.try_into().unwrap_or_default()));
        self.mean.iter_mut().chain(&mut self.variance).zip(values).for_each(|(to, value)| *to = value);
        Ok(())
    }
}
