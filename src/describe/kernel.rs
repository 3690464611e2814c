//! Correlation kernels.

use serde::{Deserialize, Serialize};

/// Spatial correlation as a function of distance, with one range parameter ℓ.
///
/// Formulas: Rasmussen & Williams, *Gaussian Processes for Machine Learning*, section 4.2 (eq. 4.17 for Matérn 3/2
/// and 5/2, eq. 4.18 with γ = 1 for the exponential).
///
/// ```
/// use rasterfuse::describe::Kernel;
/// assert_eq!(Kernel::Exponential.correlation(0.0, 300.0), 1.0);
/// assert!((Kernel::Exponential.correlation(300.0, 300.0) - (-1.0_f64).exp()).abs() < 1e-15);
/// assert_eq!(Kernel::None.correlation(1.0, 300.0), 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kernel {
    /// Cells are independent: 1 at distance 0, else 0.
    None,
    /// `exp(-r)`, `r = d / ℓ`: rough fields.
    Exponential,
    /// `(1 + √3 r) exp(-√3 r)`: once differentiable.
    Matern32,
    /// `(1 + √5 r + 5 r² / 3) exp(-√5 r)`: twice differentiable.
    Matern52,
}

impl Kernel {
    /// Correlation at `distance` for the given `range`, both in CRS units.
    #[must_use]
    pub fn correlation(self, distance: f64, range: f64) -> f64 {
        let r = distance / range;
        // The exponential underflows long before; the polynomials of the Matérn kernels would overflow.
        if r > 1e6 {
            return 0.0;
        }
        match self {
            Self::None => f64::from(distance == 0.0),
            Self::Exponential => (-r).exp(),
            Self::Matern32 => {
                let a = 3.0_f64.sqrt() * r;
                (1.0 + a) * (-a).exp()
            }
            Self::Matern52 => {
                let a = 5.0_f64.sqrt() * r;
                (1.0 + a + a * a / 3.0) * (-a).exp()
            }
        }
    }
}
