//! Checks of numbers that several parts of a description have.

use crate::describe::{Kernel, Key, Numbers};
use crate::error::{Error, Result};

/// φ per day of each of `n`, above 0 and at most 1.
pub(super) fn transitions(phi: &Numbers, n: usize, key: &Key, of: &str) -> Result<Vec<f64>> {
    phi.expand_where((n, of), key, |phi| phi > 0.0 && phi <= 1.0, "must lie in (0, 1]")
}

/// Ranges of a kernel of each of `n` components.
pub(super) fn ranges(kernel: Kernel, range: Option<&Numbers>, n: usize, key: &Key) -> Result<Vec<f64>> {
    match (kernel, range) {
        (Kernel::None, _) => Ok(vec![1.0; n]),
        (_, Some(range)) => range.expand_positive(n, key, "component"),
        (_, None) => Err(Error::setting(key, "not given; the kernel needs a range, in units of the target's CRS")),
    }
}
