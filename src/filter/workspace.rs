use faer::Par;
use faer::dyn_stack::MemBuffer;
use faer::linalg::cholesky::llt::factor::cholesky_in_place_scratch;

/// Pseudo-observations per block of the sequential update.
pub(super) const BLOCK: usize = 64;

/// Scratch memory of one worker, reused for every window and date it works on.
#[derive(Debug)]
pub struct Workspace {
    pub(super) block: Block,
    /// Variances before the update.
    pub(super) variances: Vec<f64>,
}

/// Buffers of one block update.
pub(super) struct Block {
    /// `P Hᵀ`, then `W = P Hᵀ C⁻ᵀ`. **Shape** (states, block), column-major.
    pub(super) gain: Vec<f64>,
    /// Innovation covariance, then its Cholesky factor, lower triangle. **Shape** (block, block), column-major.
    pub(super) innovation_cov: Vec<f64>,
    /// Innovations, then whitened. **Shape** (block).
    pub(super) innovation: Vec<f64>,
    /// The block's entries of H by state: (state, row in block, weight).
    pub(super) entries: Vec<(u32, u32, f64)>,
    /// Scratch of the Cholesky factorisation.
    pub(super) scratch: MemBuffer,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("gain", &self.gain.len()).finish_non_exhaustive()
    }
}

impl Workspace {
    /// Scratch memory that grows to the largest window it meets.
    #[must_use]
    pub fn new() -> Self {
        let scratch = cholesky_in_place_scratch::<f64>(BLOCK, Par::Seq, faer::Spec::default());
        let block = Block {
            gain: Vec::new(),
            innovation_cov: vec![0.0; BLOCK * BLOCK],
            innovation: Vec::with_capacity(BLOCK),
            entries: Vec::new(),
            scratch: MemBuffer::new(scratch),
        };
        Self { block, variances: Vec::new() }
    }

    /// Bytes a workspace takes for windows of `n` states.
    #[must_use]
    pub fn bytes(n: usize) -> usize {
        (n * BLOCK + BLOCK * BLOCK) * size_of::<f64>()
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}
