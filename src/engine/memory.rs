use crate::error::{Error, Result};

/// How much memory a run may take.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MemoryBudget {
    /// So many bytes.
    Bytes(u64),
    /// This fraction of the machine's memory, or of the container's limit where that is smaller.
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

/// Physical memory, or the limit of the control group the process runs in.
fn machine_bytes() -> Result<u64> {
    let unknown = |error| {
        Error::setting(
            "run.memory",
            format!("this machine does not tell its memory ({error}); give the budget in bytes"),
        )
    };
    let mut system = sysinfo::System::new().map_err(unknown)?;
    system.refresh_memory();
    let physical = system.total_memory();
    Ok(system.cgroup_limits().map_or(physical, |limits| limits.total_memory.min(physical)))
}
