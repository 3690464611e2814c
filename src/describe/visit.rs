//! The numbers of a description, one by one: what they are called, what they are, and where they stand.

use super::{Key, Number, Numbers};

/// What a number is. Scale and weak prior of an estimate follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantity {
    /// Range of the process, in CRS units, of each component.
    Range,
    /// Range of a nested kernel or of a further field, in CRS units, of each component.
    FarRange,
    /// Variance of change, in u² per day, of each component.
    Change,
    /// Variance of change of a nested kernel or of a further field, in u² per day, of each component.
    FarChange,
    /// Variance relative to another one, of each component.
    Nugget,
    /// Transition φ per day, of each component.
    Memory,
    /// Mean before the first day, in u, of each component.
    PriorMean,
    /// Variance before the first day, in u², of each component.
    PriorVariance,
    /// Noise variance, in u², of each band of an instrument.
    Noise,
    /// Bias, in u, of each band of an instrument.
    Bias,
    /// Variance of offsets before the first day, in u², of each band of an instrument.
    OffsetVariance,
    /// Variance by which offsets change, in u² per day, of each band of an instrument.
    OffsetDrift,
    /// Transition φ of offsets per day, of each band of an instrument.
    OffsetMemory,
    /// Transition φ per day of offsets whose variance is a ratio.
    ShortMemory,
    /// A weight from 0 to 1, of each component.
    Weight,
    /// A level of values, in u, of each component. No likelihood can distinguish it from a variance.
    Level,
    /// A share from 0 to 1; one number.
    Share,
    /// A distance between histories of values, in u; one number.
    Distance,
    /// Scale of features, in their units: one number, or one for each feature.
    FeatureScale,
    /// Logarithm of a factor of a variance, of each component.
    Amplitude,
    /// A factor of a variance, of each component.
    Factor,
    /// Variance of change of a nested kernel or of a further field, as a ratio to that of the process.
    FarRatio,
    /// Variance before the first day, as a ratio to that of change per day.
    PriorRatio,
    /// Noise variance, as a ratio to the variance of change per day.
    NoiseRatio,
    /// Variance of the offset of an acquisition or a group, as a ratio to the variance of change per day.
    AcquisitionRatio,
    /// Variance of lasting offsets before the first day, as a ratio to the variance of change per day.
    OffsetRatio,
    /// Variance of offsets that are forgotten, as a ratio to the variance of change per day.
    ForgottenRatio,
    /// Variance by which offsets change per day, as a ratio to the variance of change per day.
    DriftRatio,
}

impl Quantity {
    /// What a ratio in its place is.
    pub(crate) fn as_ratio(self) -> Self {
        match self {
            Self::FarChange => Self::FarRatio,
            Self::PriorVariance => Self::PriorRatio,
            Self::Noise => Self::NoiseRatio,
            Self::OffsetVariance => Self::OffsetRatio,
            Self::OffsetDrift => Self::DriftRatio,
            other => other,
        }
    }

    /// Whether it is a ratio to the process variance per day.
    #[must_use]
    pub fn is_ratio(self) -> bool {
        use Quantity::{AcquisitionRatio, DriftRatio, FarRatio, ForgottenRatio, NoiseRatio, OffsetRatio, PriorRatio};
        matches!(
            self,
            FarRatio | PriorRatio | NoiseRatio | AcquisitionRatio | OffsetRatio | ForgottenRatio | DriftRatio
        )
    }
}

/// A number, or a list of them, in its place.
#[derive(Debug)]
pub(crate) enum NumberRef<'a> {
    One(&'a mut Number),
    List(&'a mut Numbers),
}

impl NumberRef<'_> {
    /// The single numbers that are written.
    pub(crate) fn written(&mut self) -> &mut [Number] {
        match self {
            Self::One(number) => std::slice::from_mut(number),
            Self::List(numbers) => numbers.written(),
        }
    }

    /// Where one free number stands for `n`: writes each by itself.
    pub(crate) fn spread(&mut self, n: usize) {
        if let Self::List(numbers) = self
            && let Numbers::Same(free @ Number::Free(_)) = **numbers
            && n != 1
        {
            **numbers = Numbers::Each(vec![free; n]);
        }
    }
}

/// Calls with every number that may be estimated.
pub(crate) type Visitor<'v> = dyn FnMut(&Key, Quantity, NumberRef<'_>) + 'v;

/// A part of a description that holds numbers.
pub(crate) trait Visit {
    /// Calls `visit` with every number that may be estimated, always in the same order; `at` is the key of this part.
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>);
}

/// Visits the numbers of a key, if there are any.
pub(super) fn list<'a>(
    at: &Key,
    name: &str,
    quantity: Quantity,
    numbers: impl Into<Option<&'a mut Numbers>>,
    visit: &mut Visitor<'_>,
) {
    match numbers.into() {
        None => {}
        Some(Numbers::Ratio(ratio)) => {
            visit(&at.name(name).name("ratio"), quantity.as_ratio(), NumberRef::One(ratio));
        }
        Some(numbers) => visit(&at.name(name), quantity, NumberRef::List(numbers)),
    }
}

/// Visits one number of a key.
pub(super) fn one(at: &Key, name: &str, quantity: Quantity, number: &mut Number, visit: &mut Visitor<'_>) {
    visit(&at.name(name), quantity, NumberRef::One(number));
}

impl<T: Visit> Visit for Vec<T> {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        for (index, entry) in self.iter_mut().enumerate() {
            entry.visit(&at.position(index), visit);
        }
    }
}

impl<T: Visit> Visit for Option<T> {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        if let Some(part) = self {
            part.visit(at, visit);
        }
    }
}
