//! Features of the cells by which they change together.

use serde::{Deserialize, Serialize};

use super::visit::{Visit, Visitor, list, one};
use super::{Key, Number, Numbers, Quantity, Raster};

/// Features of the cells, such as the bands of a clear reference image: cells with similar features change together.
/// The table `[process.features]`.
///
/// The correlation of change `k(|s - s'|)` becomes `k(|s - s'|) k_x(s, s')` ([times](Self::times), the default) or
/// `(1 - w) k(|s - s'|) + w k_x(s, s')` ([plus](Self::plus)), `k_x(s, s') = exp(-d)` with `d` the Euclidean distance
/// of the features of the two cells, each divided by its scale. Nuggets stay as they are.
///
/// The raster lies on the target's lattice and covers the target grid; its first date is read. Beyond it the nearest
/// cell counts. A cell of which a feature is missing (NaN) has those of the nearest cell without missing ones, up to
/// 16 cells away; farther from all of them it is similar to no other: `k_x = 0`.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::describe::{Features, Kernel, Process};
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::source::MemorySource;
///
/// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// let bands = vec!["red".into(), "nir".into()];
/// let reference = MemorySource::new(grid, vec![Date::from_days(0)], bands, Array4::from_elem((1, 2, 8, 8), 0.3))?;
/// // differences of 0.05 in red, or 0.1 in near infrared, bring the correlation down to 1/e
/// let process = Process::new(Kernel::Exponential, 600.0, 1e-4).features(Features::new(reference, [0.05, 0.1]));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Features {
    /// The raster of the features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raster: Option<Raster>,
    /// Whether the curves of the seasonal mean are the features.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seasonal: bool,
    /// Bands of the raster that are used, from 0. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Vec<usize>>,
    /// The difference that brings the correlation down to 1/e, in the units of the features.
    pub scale: Numbers,
    /// How similarity is combined with distance.
    #[serde(default)]
    pub combine: Combine,
    /// The share of similarity where it is added, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Number>,
}

/// How the similarity of features is combined with the distance of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Combine {
    /// Cells that are near *and* similar change together.
    #[default]
    Times,
    /// Cells that are near *or* similar change together.
    Plus,
}

impl Features {
    /// From the first date of `source`, `scale` (one for all bands or one for each that is used) in the features'
    /// units.
    #[must_use]
    pub fn new(source: impl Into<Raster>, scale: impl Into<Numbers>) -> Self {
        Self { raster: Some(source.into()), seasonal: false, ..Self::of_seasonal(scale) }
    }

    /// The year of each cell by the seasonal mean of the fusion: cells with similar curves change together. `scale`,
    /// one for all components or one for each, is the root mean square difference of two curves, in u, that brings
    /// the correlation down to 1/e.
    #[must_use]
    pub fn of_seasonal(scale: impl Into<Numbers>) -> Self {
        Self { raster: None, seasonal: true, bands: None, scale: scale.into(), combine: Combine::Times, weight: None }
    }

    /// Uses some of the raster's bands, as positions from 0. Default: all. Not for the curves of a
    /// [seasonal mean](Self::of_seasonal).
    #[must_use]
    pub fn bands(mut self, bands: impl IntoIterator<Item = usize>) -> Self {
        self.bands = Some(bands.into_iter().collect());
        self
    }

    /// Cells that are near *and* similar change together.
    #[must_use]
    pub fn times(mut self) -> Self {
        (self.combine, self.weight) = (Combine::Times, None);
        self
    }

    /// Cells that are near *or* similar change together; similarity has a share of `weight` in [0, 1].
    #[must_use]
    pub fn plus(mut self, weight: impl Into<Number>) -> Self {
        (self.combine, self.weight) = (Combine::Plus, Some(weight.into()));
        self
    }
}

impl Visit for Features {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "scale", Quantity::FeatureScale, &mut self.scale, visit);
        if let Some(weight) = &mut self.weight {
            one(at, "weight", Quantity::Share, weight, visit);
        }
    }
}
