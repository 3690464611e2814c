/// A breakdown of the arithmetic: the numbers asked for do not fit into their type.
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
    /// A variance fell by more orders of magnitude than its type has digits for: in one update, or, of a remembered state,
    /// since it is remembered.
    #[error("the variance of state {state} fell from {before:e} to {after:e}, beyond the precision of {kind}")]
    LostPrecision {
        /// The state.
        state: usize,
        /// Variance before the update.
        before: f64,
        /// Variance after it.
        after: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
    /// An observation that those before it on its date predict so well that the type has no digits for what is left.
    #[error(
        "the observations of a date predict each other {ratio:e} times better than the state does, beyond the precision of {kind}"
    )]
    IllConditioned {
        /// Largest variance before the update over the variance of an innovation given those before it.
        ratio: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
    /// A mean that is no number, from observations of absurd size.
    #[error("the mean of state {state} is not finite")]
    NotFinite {
        /// The state.
        state: usize,
    },
    /// Variances and noise too far apart for the type of the covariance; nothing was changed.
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
