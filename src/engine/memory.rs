//! How much memory a run may take.

use crate::error::{Error, Result};
use crate::machine;

/// How much memory a run may take: the whole process, the program itself and GDAL's cache included.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MemoryBudget {
    /// So many bytes.
    Bytes(u64),
    /// This fraction of the machine's memory, or of the limit of the container or any control group around the process
    /// where that is smaller.
    Fraction(f64),
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::Fraction(0.25)
    }
}

impl MemoryBudget {
    /// The budget in bytes on this machine.
    pub(crate) fn bytes(self) -> Result<u64> {
        match self {
            Self::Bytes(0) => Err(Error::setting("run.memory", "0 bytes; give a budget such as \"2GiB\" or 0.25")),
            Self::Bytes(bytes) => Ok(bytes),
            Self::Fraction(fraction) if fraction > 0.0 && fraction <= 1.0 => {
                Ok((machine_bytes()? as f64 * fraction) as u64)
            }
            Self::Fraction(fraction) => Err(Error::setting(
                "run.memory",
                format!("{fraction} must be a fraction in (0, 1] or a size such as \"2GiB\""),
            )),
        }
    }
}

fn machine_bytes() -> Result<u64> {
    machine::memory_bytes().map_err(|problem| {
        Error::setting(
            "run.memory",
            format!("this machine does not tell its memory ({problem}); give the budget in bytes"),
        )
    })
}
