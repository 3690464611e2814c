//! How the scene changes.

use serde::{Deserialize, Serialize};

use super::structure::Choosable;
use super::visit::{Visit, Visitor, list, one};
use super::{Features, Kernel, Key, Number, Numbers, Quantity, Structure, Variation};

/// How the scene changes: each component walks in time with spatially correlated steps.
///
/// `x(t) = φ^Δt x(t - Δt) + w`, `w ~ N(0, q(Δt) K)`, `K(s, s') = Σ σ² (k(|s - s'|; ℓ) + nugget [s = s'])`, the sum
/// over nested kernels. **Units**: ranges in CRS units, variances in u² per day. The table `[process]`.
///
/// ```
/// use rasterfuse::describe::{Kernel, Process};
/// // field-sized change and, less of it, regional change
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).nested(Kernel::Matern32, 5000.0, 2e-5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Process {
    /// Spatial correlation of the steps.
    pub kernel: Kernel,
    /// Its range ℓ, in CRS units; without one only for independent cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Numbers>,
    /// Variance σ² per day.
    pub variance: Numbers,
    /// Uncorrelated change of each cell, relative to the variance.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub nugget: Numbers,
    /// Transition φ per day.
    #[serde(default = "unit", skip_serializing_if = "is_unit")]
    pub phi: Numbers,
    /// Further scales of change that are added to the kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nested: Vec<NestedKernel>,
    /// Further fields, each with its own memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub field: Vec<Field>,
    /// A covariance that depends on the cells' histories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
    /// Whether windows learn a factor of the variances.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inflate: bool,
    /// Change that is proportional to the level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<Relative>,
    /// Change that varies over the scene.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variation: Option<Structure<Variation>>,
    /// Change that varies over the year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<Season>,
    /// Features by which cells change together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Whether bands are filtered together; where it is left out, they are where variances are ratios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bands: Option<Bands>,
    /// Correlation between the bands of a cell, where they are filtered together: below the diagonal, row by row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub band_correlation: Vec<Vec<f64>>,
    /// How windows learn the covariance between bands that are filtered together, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<BandScale>,
}

/// How a window learns the covariance between bands that are filtered together, variances included: the table
/// `[process.scale]`.
///
/// The covariance of change that is described (with all that is a ratio to it) is the mean of an inverse Wishart
/// distribution, which every innovation makes narrower. Standard deviations are those of the Student t distribution that
/// follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BandScale {
    /// Degrees of freedom: how many observed pixels the covariance that is described counts for; more than the number of
    /// bands plus one.
    pub dof: f64,
    /// Days after which what was learned counts for 1/e; left out, it always counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

impl BandScale {
    /// Learns from a prior of so many degrees of freedom, and never forgets.
    #[must_use]
    pub fn new(dof: f64) -> Self {
        Self { dof, memory: None }
    }

    /// Forgets within days.
    #[must_use]
    pub fn memory(mut self, days: f64) -> Self {
        self.memory = Some(days);
        self
    }
}

/// Whether bands are filtered together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Bands {
    /// Bands that the same instruments observe have one covariance. It takes variances that are proportional.
    Together,
    /// Each band has its own covariance.
    Apart,
}

impl Choosable for Process {}

/// A kernel that is added to that of the process: the table `[[process.nested]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NestedKernel {
    /// Spatial correlation of the steps.
    pub kernel: Kernel,
    /// Its range, in CRS units; without one only for independent cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Numbers>,
    /// Variance per day.
    pub variance: Numbers,
    /// Uncorrelated change of each cell, relative to the variance.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub nugget: Numbers,
}

/// A process covariance that depends on the state's past: the table `[process.adaptive]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Adaptive {
    /// α, the share of the covariance that depends on distance, from 0 to 1.
    pub weight: Number,
    /// `ℓ_x`, in u.
    pub scale: Number,
}

/// Change that is proportional to the level: the table `[process.relative]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Relative {
    /// Share of the variance that is proportional to the squared level, from 0 to 1.
    pub weight: Numbers,
    /// The level at which change has its plain variance, in u.
    pub level: Numbers,
}

/// Change that varies over the year: the table `[process.season]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Season {
    /// Logarithm of the factor of the variance on 1 January.
    pub cosine: Numbers,
    /// Logarithm of the factor of the variance a quarter of a year later.
    pub sine: Numbers,
}

/// A field that is added to the first one, with its own kernel, range, variance and memory: the table
/// `[[process.field]]`.
///
/// Fields of the same memory are better [nested](Process::nested) in one state. Change over kilometres that is
/// forgotten within weeks, in addition to change of single fields that stays, needs two: `x(s, t) = x₁(s, t) + x₂(s,
/// t)`, each a separate process. A field that is smooth over many cells is carried at the centres of blocks of
/// cells and interpolated bilinearly between them, which takes a state per block instead of per cell.
///
/// Its mean before the first day is zero. **Units**: range in CRS units, variances in u² (per day).
///
/// ```
/// use rasterfuse::describe::{Field, Kernel, Process};
/// // regional weather, forgotten within about ten days, over lasting change of single fields
/// let regional = Field::new(Kernel::Matern32, 5000.0, 2e-5).phi(0.9);
/// let process = Process::new(Kernel::Exponential, 300.0, 1e-4).field(regional);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Field {
    /// Spatial correlation of the steps.
    pub kernel: Kernel,
    /// Its range, in CRS units; without one only for independent cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Numbers>,
    /// Variance per day.
    pub variance: Numbers,
    /// Transition φ per day.
    #[serde(default = "unit", skip_serializing_if = "is_unit")]
    pub phi: Numbers,
    /// Variance before the first day, in u².
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_variance: Option<Numbers>,
    /// Cells per side of its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
}

fn zero() -> Numbers {
    0.0.into()
}

fn unit() -> Numbers {
    1.0.into()
}

fn is_zero(numbers: &Numbers) -> bool {
    *numbers == zero()
}

fn is_unit(numbers: &Numbers) -> bool {
    *numbers == unit()
}

impl NestedKernel {
    /// A kernel with its range and its variance per day.
    #[must_use]
    pub fn new(kernel: Kernel, range: impl Into<Numbers>, variance: impl Into<Numbers>) -> Self {
        Self { kernel, range: Some(range.into()), variance: variance.into(), nugget: zero() }
    }
}

impl Process {
    /// A random walk (φ = 1) whose steps have the given kernel, range ℓ and variance σ² per day.
    #[must_use]
    pub fn new(kernel: Kernel, range: impl Into<Numbers>, variance: impl Into<Numbers>) -> Self {
        Self {
            kernel,
            range: Some(range.into()),
            variance: variance.into(),
            nugget: zero(),
            phi: unit(),
            nested: Vec::new(),
            field: Vec::new(),
            adaptive: None,
            inflate: false,
            relative: None,
            variation: None,
            season: None,
            features: None,
            bands: None,
            band_correlation: Vec::new(),
            scale: None,
        }
    }

    /// Adds another scale of change to the sum of kernels.
    #[must_use]
    pub fn nested(mut self, kernel: Kernel, range: impl Into<Numbers>, variance: impl Into<Numbers>) -> Self {
        self.nested.push(NestedKernel::new(kernel, range, variance));
        self
    }

    /// Uncorrelated change of each cell, relative to the variance of the kernel given last.
    #[must_use]
    pub fn nugget(mut self, nugget: impl Into<Numbers>) -> Self {
        *self.nested.last_mut().map_or(&mut self.nugget, |nested| &mut nested.nugget) = nugget.into();
        self
    }

    /// Transition φ per day: 1 for a random walk, less to revert to zero.
    #[must_use]
    pub fn phi(mut self, phi: impl Into<Numbers>) -> Self {
        self.phi = phi.into();
        self
    }

    /// Lets cells with similar histories change together: `K ← weight K + (1 - weight) K_x`,
    /// `K_x(s, s') = σ² exp(-d_x(s, s') / scale) + 1e-10 [s = s']`, where `d_x` is the distance between the cells'
    /// precision-weighted histories of fused values. `weight` lies in [0, 1], `scale` is in u.
    #[must_use]
    pub fn adaptive(mut self, weight: impl Into<Number>, scale: impl Into<Number>) -> Self {
        self.adaptive = Some(Adaptive { weight: weight.into(), scale: scale.into() });
        self
    }

    /// Lets cells with similar features, of a reference image for example, change together.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = Some(features);
        self
    }

    /// Filters bands that the same instruments observe together, or each apart. Together they have one covariance,
    /// `Cov(x_b(s), x_c(s')) = C_bc P(s, s')`, `C_bc = σ_b σ_c ρ_bc`, σ² the process variances and ρ the
    /// [correlation of bands](Self::band_correlation): time and memory are those of one band, and a pixel that lacks a
    /// band lacks all. Every other variance must be proportional to σ², which [ratios](Numbers::Ratio) are.
    #[must_use]
    pub fn bands(mut self, bands: Bands) -> Self {
        self.bands = Some(bands);
        self
    }

    /// Lets every window learn the covariance between bands that are filtered together.
    #[must_use]
    pub fn scale(mut self, scale: BandScale) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Correlation between the bands of a cell: the second with the first, the third with the first two, and so on.
    #[must_use]
    pub fn band_correlation(mut self, rows: impl IntoIterator<Item = Vec<f64>>) -> Self {
        self.band_correlation = rows.into_iter().collect();
        self
    }

    /// Adds a field with its own memory; its components add to those of the first.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.field.push(field);
        self
    }

    /// Lets change be proportional to the level: `K(s, s') ← g(s) g(s') K(s, s')`, `g(s)² = 1 - weight + weight
    /// (value(s) / level)²`. With a weight of 1 the standard deviation of change is proportional to the value, and
    /// process variances are those at `level`. `weight` lies in [0, 1]; `level`, in u, is positive.
    ///
    /// `value` is the mean of the state (for the rest of a footprint, its average) after the window's last update of
    /// the components that are filtered together, or of the prior before the first one, with the seasonal mean of
    /// that date added where there is one. It does not change while nothing is observed, so the result does not
    /// depend on which dates are output.
    #[must_use]
    pub fn relative(mut self, weight: impl Into<Numbers>, level: impl Into<Numbers>) -> Self {
        self.relative = Some(Relative { weight: weight.into(), level: level.into() });
        self
    }

    /// Lets some places change more than others, by factors of the variance of the first field, nested kernels and
    /// nugget included.
    #[must_use]
    pub fn variation(mut self, variation: impl Into<Structure<Variation>>) -> Self {
        self.variation = Some(variation.into());
        self
    }

    /// Lets change be more variable at some times of the year: the variance of the first field is multiplied by
    /// `exp(cosine cos ω + sine sin ω)`, `ω = 2π d / 365.2425`, d days from 1 January 1970. Both lie in [-20, 20]; 0
    /// and 0 mean the same variance all year, a cosine of 0.7 means twice the variance in January and half of it in
    /// July.
    #[must_use]
    pub fn season(mut self, cosine: impl Into<Numbers>, sine: impl Into<Numbers>) -> Self {
        self.season = Some(Season { cosine: cosine.into(), sine: sine.into() });
        self
    }

    /// Whether the stated variances are lower bounds: every window multiplies those of the field, and of [further
    /// ones](Self::field), by a factor that it learns from the normalised innovations of all instruments, by groups
    /// of components that are filtered separately (by band, without a spectral basis). It takes a few tens of dates.
    /// Default: no.
    #[must_use]
    pub fn inflate(mut self, inflate: bool) -> Self {
        self.inflate = inflate;
        self
    }
}

impl Field {
    /// A random walk (φ = 1) whose steps have the given kernel, range ℓ and variance σ² per day.
    #[must_use]
    pub fn new(kernel: Kernel, range: impl Into<Numbers>, variance: impl Into<Numbers>) -> Self {
        let (range, variance) = (Some(range.into()), variance.into());
        Self { kernel, range, variance, phi: unit(), prior_variance: None, block: None }
    }

    /// Transition φ per day: 1 for a random walk, less to revert to zero.
    #[must_use]
    pub fn phi(mut self, phi: impl Into<Numbers>) -> Self {
        self.phi = phi.into();
        self
    }

    /// Its variance before the first day, in u², correlated in space like its steps. Default: `σ² / (1 - φ²)`, which
    /// it then keeps, with φ < 1; none with φ = 1, whose beginning the prior of the first field describes.
    #[must_use]
    pub fn prior_variance(mut self, variance: impl Into<Numbers>) -> Self {
        self.prior_variance = Some(variance.into());
        self
    }

    /// Cells per side of its blocks; 1 for a state per cell. Default: a quarter of the shortest range, an eighth with
    /// the exponential kernel. Interpolation between centres that far apart loses at most 7 (Matérn 3/2), 5 (Matérn
    /// 5/2) or 10 (exponential) percent of the variance.
    #[must_use]
    pub fn block(mut self, cells: usize) -> Self {
        self.block = Some(cells);
        self
    }
}

impl Visit for Process {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "range", Quantity::Range, self.range.as_mut(), visit);
        list(at, "variance", Quantity::Change, &mut self.variance, visit);
        list(at, "nugget", Quantity::Nugget, &mut self.nugget, visit);
        list(at, "phi", Quantity::Memory, &mut self.phi, visit);
        self.nested.visit(&at.name("nested"), visit);
        self.field.visit(&at.name("field"), visit);
        if let Some(Adaptive { weight, scale }) = &mut self.adaptive {
            let at = at.name("adaptive");
            one(&at, "weight", Quantity::Share, weight, visit);
            one(&at, "scale", Quantity::Distance, scale, visit);
        }
        if let Some(Relative { weight, level }) = &mut self.relative {
            let at = at.name("relative");
            list(&at, "weight", Quantity::Weight, weight, visit);
            list(&at, "level", Quantity::Level, level, visit);
        }
        self.variation.visit(&at.name("variation"), visit);
        if let Some(Season { cosine, sine }) = &mut self.season {
            let at = at.name("season");
            list(&at, "cosine", Quantity::Amplitude, cosine, visit);
            list(&at, "sine", Quantity::Amplitude, sine, visit);
        }
        self.features.visit(&at.name("features"), visit);
    }
}

impl Visit for NestedKernel {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "range", Quantity::FarRange, self.range.as_mut(), visit);
        list(at, "variance", Quantity::FarChange, &mut self.variance, visit);
        list(at, "nugget", Quantity::Nugget, &mut self.nugget, visit);
    }
}

impl Visit for Field {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "range", Quantity::FarRange, self.range.as_mut(), visit);
        list(at, "variance", Quantity::FarChange, &mut self.variance, visit);
        list(at, "phi", Quantity::Memory, &mut self.phi, visit);
        list(at, "prior_variance", Quantity::PriorVariance, self.prior_variance.as_mut(), visit);
    }
}
