//! Conversion of blocks to float32 chunks.

use ndarray::ArrayView3;

/// Number of values that are converted at once.
const PIECE: usize = 4096;

/// The block as float32 in the shape of a full chunk; NaN beyond the edge of the grid. `Err` returns the first value
/// that is too large.
pub(super) fn padded_chunk(values: ArrayView3<'_, f64>, shape: (usize, usize, usize)) -> Result<Vec<f32>, f64> {
    let mut chunk: Vec<f32> = Vec::with_capacity(shape.0 * shape.1 * shape.2);
    let mut fits = true;
    if let Some(values) = values.as_slice().filter(|_| values.dim() == shape) {
        // In pieces that are still in the cache when they are checked.
        for values in values.chunks(PIECE) {
            chunk.extend(values.iter().map(|value| *value as f32));
            fits &= all_fit(&chunk[chunk.len() - values.len()..], values);
        }
    } else {
        let (_, rows, cols) = values.dim();
        for plane in values.outer_iter() {
            for row in plane.outer_iter() {
                chunk.extend(row.iter().map(|value| *value as f32));
                fits &= row.iter().all(|value| !value.is_finite() | (*value as f32).is_finite());
                chunk.extend(std::iter::repeat_n(f32::NAN, shape.2 - cols));
            }
            chunk.extend(std::iter::repeat_n(f32::NAN, (shape.1 - rows) * shape.2));
        }
        chunk.resize(shape.0 * shape.1 * shape.2, f32::NAN);
    }
    if fits {
        return Ok(chunk);
    }
    let large = |value: &&f64| value.is_finite() && !(**value as f32).is_finite();
    values.iter().find(large).map_or(Ok(chunk), |value| Err(*value))
}

/// Whether every finite number is still finite.
fn all_fit(stored: &[f32], values: &[f64]) -> bool {
    // Without an early exit, so that the compiler vectorises the loop.
    let lost = stored.iter().zip(values).map(|(stored, value)| stored.is_infinite() & value.is_finite());
    !lost.fold(false, |any, lost| any | lost)
}
