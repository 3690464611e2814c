//! Change that varies over the scene.

use serde::{Deserialize, Serialize};

use super::Key;
use super::Raster;
use super::structure::Choosable;
use super::visit::{Visit, Visitor};

/// How much more, or less, each cell changes than the process says. The table `[process.variation]`.
///
/// `K(s, s') ← √(f(s) f(s')) K(s, s')` with `K` the covariance of the first field, nested kernels and nugget
/// included, and `f` the factors of the raster. A state that is an average of cells (the rest of a coarse footprint
/// beyond a window) takes the average of `√f` over them. A prior keeps its variance.
///
/// The raster lies on the target's lattice and covers the target grid; its first date is read. It has one band for all
/// components, or one for each. Factors lie between 1/1000 and 1000; where one is missing (NaN) it is 1.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::describe::{Kernel, Process, Variation};
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::source::MemorySource;
///
/// // change in the northern half four times as variable as in the southern one
/// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// let factors = Array4::from_shape_fn((1, 1, 8, 8), |(.., row, _)| if row < 4 { 2.0 } else { 0.5 });
/// let map = MemorySource::new(grid, vec![Date::from_days(0)], vec!["change".into()], factors)?;
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).variation(Variation::of(map));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Variation {
    /// Factors of the variance of change.
    pub map: Raster,
}

impl Choosable for Variation {}

impl Variation {
    /// The factors of a raster on the target's lattice.
    #[must_use]
    pub fn of(map: impl Into<Raster>) -> Self {
        Self { map: map.into() }
    }
}

impl Visit for Variation {
    fn visit(&mut self, _: &Key, _: &mut Visitor<'_>) {}
}
