//! What a store is found to be when all of it is read again.

use std::path::PathBuf;

use serde::Serialize;

use super::{ExistingSeries, Saved};
use crate::error::ChunkFault;

/// What is wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Problem {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(path: impl Into<PathBuf>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.path.display(), self.problem, self.remedy)
    }
}

/// What was found of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// Id of the series; `None` of a store that was made before series had one.
    pub series_id: Option<String>,
    /// Its generation.
    pub generation: Option<u64>,
    /// Such as `a finished run with 33 dates`.
    pub state: String,
    /// Chunks that were compared with their records.
    pub chunks: u64,
    /// Bytes read of them.
    pub bytes: u64,
    /// Number of chunks that are not what was written.
    pub changed: usize,
    /// The first of them.
    pub faults: Vec<ChunkFault>,
    /// Whatever else is wrong.
    pub problems: Vec<Problem>,
    /// The newest checkpoint that the store was told of, by tile.
    #[serde(skip)]
    pub saved: Vec<((usize, usize), Option<Saved>)>,
    /// The series; `None` where the store cannot be opened.
    #[serde(skip)]
    pub series: Option<ExistingSeries>,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.changed == 0 && self.problems.is_empty()
    }
}
