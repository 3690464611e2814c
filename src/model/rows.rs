//! Sparse rows of weights.

use crate::filter::Channel;

/// Sparse rows: weighted sums of states.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseRows {
    /// Start of each row's entries.
    starts: Vec<u32>,
    states: Vec<u32>,
    weights: Vec<f64>,
}

impl SparseRows {
    /// Starts another row.
    pub(crate) fn begin(&mut self) {
        self.starts.push(self.states.len() as u32);
    }

    /// Adds an entry to the last row.
    pub(crate) fn push(&mut self, state: u32, weight: f64) {
        self.states.push(state);
        self.weights.push(weight);
    }

    /// States and weights of a row.
    pub(crate) fn row(&self, k: usize) -> Channel<'_> {
        let end = self.starts.get(k + 1).map_or(self.states.len(), |&end| end as usize);
        let entries = self.starts[k] as usize..end;
        Channel { offset: 0, scale: 1.0, states: &self.states[entries.clone()], weights: &self.weights[entries] }
    }
}
