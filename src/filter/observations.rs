use std::ops::Range;

use super::{BandModel, CompressionCache};

/// A pixel's channel: the weighted sum of states `offset + states[k]` that one column of the band model multiplies.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    /// Added to every index.
    pub offset: usize,
    /// State indices.
    pub states: &'a [u32],
    /// Their weights.
    pub weights: &'a [f64],
}

/// The pseudo-observations of one window on one date: sparse rows with unit noise, grouped by instrument.
///
/// Reused from date to date; clearing keeps the memory.
#[derive(Debug, Default)]
pub struct Observations {
    starts: Vec<usize>,
    states: Vec<u32>,
    weights: Vec<f64>,
    z: Vec<f64>,
    groups: Vec<Group>,
    present: Vec<usize>,
}

/// What one instrument adds on one date.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) instrument: usize,
    pub(super) rows: Range<usize>,
    pub(super) values: usize,
    pub(super) left_out: f64,
    pub(super) log_det_noise: f64,
}

impl Observations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all rows and groups.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.states.clear();
        self.weights.clear();
        self.z.clear();
        self.groups.clear();
    }

    /// Number of pseudo-observations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.z.len()
    }

    /// Whether nothing was observed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.values == 0)
    }

    /// Starts the pixels of an instrument; diagnostics are kept apart by it.
    pub fn begin_group(&mut self, instrument: usize) {
        let rows = self.z.len()..self.z.len();
        self.groups.push(Group { instrument, rows, values: 0, left_out: 0.0, log_det_noise: 0.0 });
    }

    /// Adds a pixel of the current instrument: `values` (one per band of `model`, NaN where missing) observe `channels`.
    /// A pixel without values adds nothing.
    ///
    /// # Panics
    /// When `values` or `channels` do not match the model's bands and channels.
    pub fn push_pixel(
        &mut self,
        model: &BandModel,
        channels: &[Channel<'_>],
        values: &[f64],
        cache: &mut CompressionCache,
    ) {
        assert_eq!(channels.len(), model.channels(), "one channel per column of the design");
        assert_eq!(values.len(), model.bands(), "one value per band");
        let Some(group) = self.groups.last_mut() else { return };
        self.present.clear();
        self.present.extend(values.iter().enumerate().filter(|(_, value)| value.is_finite()).map(|(band, _)| band));
        if self.present.is_empty() {
            return;
        }
        let compression = cache.get(group.instrument, model, &self.present);
        let (z, left_out) = compression.project(model, values);
        for (k, &z) in z.iter().enumerate() {
            self.starts.push(self.states.len());
            for (c, channel) in channels.iter().enumerate() {
                let weight = compression.weight(k, c);
                if weight != 0.0 {
                    self.states.extend(channel.states.iter().map(|&state| state + channel.offset as u32));
                    self.weights.extend(channel.weights.iter().map(|w| w * weight));
                }
            }
            self.z.push(z);
        }
        group.rows.end = self.z.len();
        group.values += compression.bands();
        group.left_out += left_out;
        group.log_det_noise += compression.log_det_noise();
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(super) fn z(&self, row: usize) -> f64 {
        self.z[row]
    }

    /// (state, weight) of the entries of a row.
    pub(super) fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let end = self.starts.get(row + 1).copied().unwrap_or(self.states.len());
        let entries = self.starts[row]..end;
        self.states[entries.clone()].iter().map(|&state| state as usize).zip(self.weights[entries].iter().copied())
    }
}
