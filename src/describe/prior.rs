//! What is known before the first observation.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor as DeVisitor};
use serde::{Deserialize, Serialize, Serializer};

use super::structure::Choosable;
use super::visit::{Visit, Visitor, list};
use super::{ESTIMATE, Free, Key, Numbers, Quantity, Raster};

/// What is known before the first observation: mean and variance of every component, independent between cells
/// unless it is [correlated](Self::correlated). The table `[prior]`.
///
/// It describes the day *before* the first day of the series; the first step is one ordinary prediction of one day.
///
/// ```
/// use rasterfuse::describe::Prior;
/// let vague = Prior::new(0.3, 0.05); // mean in u and variance in u² of every band
/// let by_band = Prior::new([0.05, 0.3], [0.01, 0.05]).correlated(); // initial errors share the spatial correlation of change
/// # let _ = (vague, by_band);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Prior {
    /// Mean, in u.
    pub mean: PriorField,
    /// Variance, in u².
    pub variance: PriorField,
    /// Correlation between cells.
    #[serde(default)]
    pub correlation: PriorCorrelation,
}

impl Choosable for Prior {}

/// The same everywhere, or from a raster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PriorField {
    /// One number, or one per component.
    Constant(Numbers),
    /// A raster on the target's lattice that covers the target grid, one band per component (or one for all), of
    /// which the first date is read. NaN says nothing: such cells stay NaN unless an instrument observes them, which
    /// is an error.
    Raster(Raster),
}

/// How cells correlate before the first observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PriorCorrelation {
    /// Not at all.
    #[default]
    Independent,
    /// Initial errors share the spatial correlation of changes.
    Process,
}

impl<V: Into<Numbers>> From<V> for PriorField {
    fn from(values: V) -> Self {
        Self::Constant(values.into())
    }
}

impl PriorField {
    /// A field from the first date of `source`.
    #[must_use]
    pub fn raster(source: impl Into<Raster>) -> Self {
        Self::Raster(source.into())
    }

    /// The numbers, unless it is a raster.
    pub(crate) fn numbers(&mut self) -> Option<&mut Numbers> {
        match self {
            Self::Constant(numbers) => Some(numbers),
            Self::Raster(_) => None,
        }
    }

    /// Whether it is nothing but the word for what is to be estimated.
    pub(crate) fn is_free(&self) -> bool {
        *self == Self::Constant(Free::default().into())
    }
}

impl Prior {
    /// A prior of the given mean (u) and variance (u²).
    #[must_use]
    pub fn new(mean: impl Into<PriorField>, variance: impl Into<PriorField>) -> Self {
        Self { mean: mean.into(), variance: variance.into(), correlation: PriorCorrelation::Independent }
    }

    /// Correlates cells as the process does: `Cov(x(s), x(s')) = sd(s) sd(s') K(s, s') / K(s, s)`, `K` the process
    /// covariance of the component and `sd²` the prior variance. Components stay independent of each other.
    ///
    /// With a [memory](super::Process::phi) φ < 1 the process is stationary when the variance is `K(s, s) / (1 -
    /// φ²)`, the sum of the kernels' `σ² (1 + nugget)` over `1 - φ²`.
    ///
    /// Where the variance is a raster, the average over the part of a footprint beyond a window has the mean standard
    /// deviation of its cells.
    ///
    /// ```
    /// use rasterfuse::describe::{Kernel, Prior, Process};
    /// let (variance, phi) = (1e-4, 0.98);
    /// let process = Process::new(Kernel::Exponential, 300.0, variance).phi(phi);
    /// let stationary = Prior::new(0.0, variance / (1.0 - phi * phi)).correlated();
    /// ```
    #[must_use]
    pub fn correlated(mut self) -> Self {
        self.correlation = PriorCorrelation::Process;
        self
    }
}

impl Visit for Prior {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        list(at, "mean", Quantity::PriorMean, self.mean.numbers(), visit);
        list(at, "variance", Quantity::PriorVariance, self.variance.numbers(), visit);
    }
}

impl Serialize for PriorField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(numbers) => numbers.serialize(serializer),
            Self::Raster(raster) => raster.serialize(serializer),
        }
    }
}

/// Reads numbers or the path of a raster.
struct FieldVisitor;

impl<'de> DeVisitor<'de> for FieldVisitor {
    type Value = PriorField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, a list of numbers, {ESTIMATE:?} or the path of a raster")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<PriorField, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<PriorField, E> {
        Ok((value as f64).into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<PriorField, E> {
        Ok((value as f64).into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<PriorField, E> {
        Ok(if value == ESTIMATE { Free::default().into() } else { PriorField::Raster(Raster::named(value)) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PriorField, A::Error> {
        Numbers::deserialize(MapAccessDeserializer::new(map)).map(PriorField::Constant)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<PriorField, A::Error> {
        Numbers::deserialize(SeqAccessDeserializer::new(seq)).map(PriorField::Constant)
    }
}

impl<'de> Deserialize<'de> for PriorField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}
