//! How much memory a run may take.

use std::fmt;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

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
            format!("the memory of this machine is not known ({problem}); give the budget in bytes"),
        )
    })
}

/// Reads a size such as `"2GiB"`, or a fraction of the machine's memory.
struct BudgetVisitor;

impl Visitor<'_> for BudgetVisitor {
    type Value = MemoryBudget;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"2GiB\" or a fraction such as 0.25")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MemoryBudget, E> {
        let size = text.parse::<ByteSize>().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(MemoryBudget::Bytes(size.as_u64()))
    }

    fn visit_f64<E: de::Error>(self, fraction: f64) -> Result<MemoryBudget, E> {
        Ok(MemoryBudget::Fraction(fraction))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<MemoryBudget, E> {
        match number {
            1 => Ok(MemoryBudget::Fraction(1.0)),
            other => Err(E::invalid_value(de::Unexpected::Signed(other), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryBudget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BudgetVisitor)
    }
}
