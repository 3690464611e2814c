//! Memory of blocks that have been written, to be filled again.

use std::sync::{Mutex, PoisonError};

use ndarray::Array3;

use crate::series::{BlockOffsets, FusedBlock};

/// Arrays of blocks that have been written, to be filled again: asking the system for fresh memory, which it clears, takes
/// longer than filling it.
///
/// There are never more than the blocks that were under way at once.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Array3<f64>>>);

impl Spare {
    pub(super) fn give(&self, blocks: Vec<FusedBlock>) {
        let mut arrays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for FusedBlock { mean, uncertainty, offsets, .. } in blocks {
            arrays.extend([mean, uncertainty]);
            arrays.extend(offsets.into_iter().flat_map(|BlockOffsets { mean, sd }| [mean, sd]));
        }
    }

    /// An array whose values are to be replaced.
    pub(super) fn take(&self, shape: (usize, usize, usize)) -> Array3<f64> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let resized = spare.and_then(|array| {
            if array.dim() == shape {
                return Some(array);
            }
            // Tiles at the grid's edge are smaller than others.
            let mut values = array.into_raw_vec_and_offset().0;
            values.resize(shape.0 * shape.1 * shape.2, 0.0);
            Array3::from_shape_vec(shape, values).ok()
        });
        resized.unwrap_or_else(|| Array3::zeros(shape))
    }

    /// Lets the memory go.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    }
}
