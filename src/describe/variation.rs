//! Change that varies over the scene.

use serde::{Deserialize, Serialize};

use super::structure::Choosable;
use super::visit::{Visit, Visitor, list};
use super::{Key, Numbers, Quantity};

/// How much more, or less, some places change than others: factors of the process variance at points of the scene,
/// interpolated. The table `[process.variation]`.
///
/// `K(s, s') ← √(f(s) f(s')) K(s, s')` with `K` the covariance of the first field, nested kernels and nugget
/// included. The logarithm of `f` is the simple kriging of those at the points with the correlation `exp(-d / range)`
/// (Cressie, *Statistics for Spatial Data*, revised ed., section 3.4.5): `f` takes every point's factor there, and
/// tends to that of [elsewhere](Self::elsewhere) far from all of them.
///
/// The average over a footprint's rest beyond a window has the mean of `√f` at the centroids of the rectangles that
/// it is made of.
///
/// ```
/// use rasterfuse::describe::{Kernel, Process, Variation};
/// // change in the north twice as variable as on average, in the south half
/// let variation = Variation::new(20_000.0).point((500_000.0, 5_150_000.0), 2.0).point((500_000.0, 5_100_000.0), 0.5);
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).variation(variation);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Variation {
    /// Distance over which factors are similar, in CRS units.
    pub range: f64,
    /// The factor far from all points.
    #[serde(default = "unit")]
    pub elsewhere: Numbers,
    /// Places with their factors.
    pub points: Vec<VariationPoint>,
}

impl Choosable for Variation {}

/// A place and the factor of the variance of change there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct VariationPoint {
    /// (x, y) in the target's CRS.
    pub at: (f64, f64),
    /// The factor, one for all components or one for each.
    pub factor: Numbers,
}

fn unit() -> Numbers {
    1.0.into()
}

impl Variation {
    /// The same factor everywhere, until there are points; `range`, in CRS units, is the distance over which factors
    /// are similar.
    #[must_use]
    pub fn new(range: f64) -> Self {
        Self { range, elsewhere: unit(), points: Vec::new() }
    }

    /// The factor far from all points, one for all components or one for each. Default: 1.
    #[must_use]
    pub fn elsewhere(mut self, factor: impl Into<Numbers>) -> Self {
        self.elsewhere = factor.into();
        self
    }

    /// Adds a place, (x, y) in the target's CRS, and the factor of the variance there: one for all components or one
    /// for each.
    #[must_use]
    pub fn point(mut self, at: (f64, f64), factor: impl Into<Numbers>) -> Self {
        self.points.push(VariationPoint { at, factor: factor.into() });
        self
    }
}

impl Visit for Variation {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "elsewhere", Quantity::Factor, &mut self.elsewhere, visit);
        for (index, point) in self.points.iter_mut().enumerate() {
            list(&at.name("points").position(index), "factor", Quantity::Factor, &mut point.factor, visit);
        }
    }
}
