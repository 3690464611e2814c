//! Scratch memory of the update.

use faer::dyn_stack::MemBuffer;
use faer::linalg::cholesky::llt::factor::cholesky_in_place_scratch;
use faer::{Mat, Par};

use super::Real;
use super::diagnostics::{Innovation, SquareSums, Squares};

/// Usual number of pseudo-observations in a block of the sequential update: large enough for the rank-k product to
/// run near full speed, small enough that the triangular solves, whose cost grows with it, stay cheap.
pub(super) const USUAL_BLOCK_ROWS: usize = 36;

/// Largest number of pseudo-observations in a block. A date is divided evenly, so that no small block remains.
pub(super) const MOST_BLOCK_ROWS: usize = USUAL_BLOCK_ROWS + USUAL_BLOCK_ROWS / 2;

/// Columns of a block that are whitened together.
pub(super) const STEP: usize = 24;

const CACHE_LINE: usize = 64;

/// Scratch memory of one worker, reused for every window and date.
///
/// It grows to the largest state and allocates nothing afterwards.
#[derive(Debug)]
pub struct Workspace<T: Real = f64> {
    pub(super) block: BlockBuffers<T>,
    /// Variances before the update.
    pub(super) variances: Vec<f64>,
    pub(super) innovations: Vec<Innovation>,
    pub(super) squares: SquareSums,
}

/// Buffers of one block update.
pub(super) struct BlockBuffers<T: Real> {
    /// `P Hᵀ` of the states and, below them, of the lagged states. **Shape** (states + lagged, block).
    pub(super) cross: Columns<T>,
    /// `W = P Hᵀ C⁻ᵀ`; shape as `cross`.
    pub(super) gain: Mat<T>,
    /// Innovation covariance, then its Cholesky factor C, lower triangle. **Shape** (block, block), column-major.
    pub(super) innovation_cov: Vec<f64>,
    /// C. **Shape** (block, block).
    pub(super) factor: Mat<T>,
    /// Inverses of the diagonal blocks of C, stacked. **Shape** (block, step).
    pub(super) inverses: Mat<T>,
    /// Innovations, then whitened. **Shape** (columns, rows of the block).
    pub(super) innovation: Vec<f64>,
    /// The whitened innovations of one row. **Shape** (columns).
    pub(super) row: Vec<f64>,
    /// The whitened innovations in the covariance's type. **Shape** (block, columns).
    pub(super) whitened: Mat<T>,
    /// Change of the means by the block. **Shape** (states + lagged, columns).
    pub(super) step: Mat<T>,
    /// The block's entries of H by state.
    pub(super) entries: Vec<BlockEntry>,
    /// Innovation covariance of a single pixel.
    pub(super) pixel: Vec<f64>,
    /// Scratch of the Cholesky factorisation.
    pub(super) scratch: MemBuffer,
}

/// The columns of a block as one slice; each starts at a cache line.
pub(super) struct Columns<T> {
    values: Vec<T>,
    /// Start of the first cache line.
    start: usize,
    /// Distance from one column to the next.
    pub(super) stride: usize,
}

impl<T: Real> Columns<T> {
    fn zeros(rows: usize) -> Self {
        let line = CACHE_LINE / size_of::<T>();
        // An odd number of cache lines spreads the rows of a tile over the sets of the cache.
        let stride = (rows.div_ceil(line) | 1) * line;
        let values = vec![T::default(); stride * MOST_BLOCK_ROWS + line];
        let start = values.as_ptr().align_offset(CACHE_LINE).min(line);
        Self { values, start, stride }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.values[self.start..]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }

    /// Rows `rows` of column `k`.
    #[inline(always)]
    pub(super) fn column_mut(&mut self, k: usize, rows: std::ops::Range<usize>) -> &mut [T] {
        let at = self.start + k * self.stride;
        &mut self.values[at + rows.start..at + rows.end]
    }
}

/// An entry of a block's H.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockEntry {
    pub(super) state: u32,
    /// Row in the block.
    pub(super) row: u32,
    pub(super) weight: f64,
    /// Whether the row has no other entry.
    pub(super) only: bool,
    /// Length of the run that starts here, up to a limit: entries that are the only ones of their rows and observe
    /// consecutive states.
    pub(super) run: u8,
}

impl<T: Real> std::fmt::Debug for BlockBuffers<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("rows", &self.gain.nrows()).finish_non_exhaustive()
    }
}

impl<T: Real> Workspace<T> {
    /// Scratch memory that grows to the largest state.
    #[must_use]
    pub fn new() -> Self {
        let scratch = cholesky_in_place_scratch::<f64>(MOST_BLOCK_ROWS, Par::Seq, faer::Spec::default());
        let block = BlockBuffers {
            cross: Columns::zeros(0),
            gain: Mat::new(),
            innovation_cov: vec![0.0; MOST_BLOCK_ROWS * MOST_BLOCK_ROWS],
            factor: Mat::zeros(MOST_BLOCK_ROWS, MOST_BLOCK_ROWS),
            inverses: Mat::zeros(MOST_BLOCK_ROWS, STEP),
            innovation: Vec::with_capacity(MOST_BLOCK_ROWS),
            row: Vec::with_capacity(1),
            whitened: Mat::zeros(MOST_BLOCK_ROWS, 1),
            step: Mat::new(),
            entries: Vec::new(),
            pixel: Vec::new(),
            scratch: MemBuffer::new(scratch),
        };
        Self { block, variances: Vec::new(), innovations: Vec::new(), squares: SquareSums::default() }
    }

    /// The fit of each instrument in the most recent update.
    #[must_use]
    pub fn innovations(&self) -> &[Innovation] {
        &self.innovations
    }

    /// Sums of the whitened innovations of an instrument in the most recent update, by its group. `None` where there is
    /// no such group, or the observations have one column and did not [ask](super::Observations::sum_squares) for them.
    #[must_use]
    pub fn squares(&self, group: usize) -> Option<Squares<'_>> {
        self.squares.group(group)
    }

    /// Allocates memory for states of `rows` entries, lagged ones included, and one mean.
    pub fn reserve(&mut self, rows: usize) {
        self.reserve_together(rows, 1);
    }

    /// Allocates memory for states of `rows` entries, lagged ones included, and `columns` means.
    pub fn reserve_together(&mut self, rows: usize, columns: usize) {
        let block = &mut self.block;
        if block.gain.nrows() < rows {
            block.cross = Columns::zeros(rows);
            block.gain = Mat::zeros(rows, MOST_BLOCK_ROWS);
        }
        if block.whitened.ncols() < columns {
            block.whitened = Mat::zeros(MOST_BLOCK_ROWS, columns);
            block.innovation.reserve(MOST_BLOCK_ROWS * columns);
        }
        if block.step.nrows() < rows || block.step.ncols() < columns {
            block.step = Mat::zeros(block.gain.nrows(), block.whitened.ncols());
        }
    }

    /// Bytes of a workspace for states of `rows` entries, lagged ones included.
    #[must_use]
    pub fn bytes(rows: usize) -> usize {
        (2 * rows * MOST_BLOCK_ROWS + 3 * MOST_BLOCK_ROWS * MOST_BLOCK_ROWS) * size_of::<T>()
    }

    /// Further bytes of the workspace for `further` means beside the first.
    #[must_use]
    pub fn further_bytes(rows: usize, further: usize) -> usize {
        further * ((rows + MOST_BLOCK_ROWS) * size_of::<T>() + MOST_BLOCK_ROWS * size_of::<f64>())
    }
}

impl<T: Real> Default for Workspace<T> {
    fn default() -> Self {
        Self::new()
    }
}
