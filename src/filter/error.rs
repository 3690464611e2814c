//! Numerical failures of the filter.

/// A breakdown of the arithmetic: results exceed the precision of their number type.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NumericalError {
    /// An innovation covariance that is not positive definite, or holds NaN.
    #[error("the innovation covariance is not positive definite (pivot {pivot} of {size})")]
    NotPositiveDefinite {
        /// The pivot that was not positive.
        pivot: usize,
        /// Size of the block.
        size: usize,
    },
    /// A variance fell by more orders of magnitude than its type has digits: in one update or, for a lagged state,
    /// since it was stored.
    #[error(
        "the variance of state {state} fell from {variance_before:e} to {variance_after:e}, beyond the precision of {kind}"
    )]
    LostPrecision {
        /// The state.
        state: usize,
        /// Variance before the update.
        variance_before: f64,
        /// Variance after it.
        variance_after: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
    /// An observation that the preceding ones of its date predict so well that the type has no digits for the
    /// remainder.
    #[error(
        "the observations of a date predict each other {ratio:e} times better than the state does, beyond the precision of {kind}"
    )]
    IllConditioned {
        /// Largest variance before the update, divided by the variance of an innovation given the preceding ones.
        ratio: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
    /// A mean that is not a number, from observations of absurd size.
    #[error("the mean of state {state} is not finite")]
    NotFinite {
        /// The state.
        state: usize,
    },
    /// The variances and the noise are too far apart for the type of the covariance. The state is unchanged.
    #[error(
        "the largest variance is {ratio:e} times the smallest noise variance, beyond the {allowed:e} that {kind} covariances allow"
    )]
    RatioTooLarge {
        /// Largest variance over smallest noise variance.
        ratio: f64,
        /// Largest ratio allowed.
        allowed: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
}
