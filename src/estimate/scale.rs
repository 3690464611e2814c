//! Free numbers as the search has them: without bounds, each with where it begins and a weak prior.

use serde::Serialize;

use crate::describe::Quantity;
use crate::error::{Error, Key, Result};

/// Half-width in which an optimum without prior is looked for at first, in units of the scale: a factor of 1000 for
/// positive numbers.
const WIDE: f64 = 6.9;

/// Where a number lives: it is estimated as a number without bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scale {
    /// Positive numbers: variances, ranges. Estimated as ln x.
    Log,
    /// Numbers between 0 and 1: memories, shares. Estimated as ln(x / (1 - x)).
    Logit,
    /// Any number, of about this size: biases, means. Estimated as x / size.
    Linear(f64),
}

impl Scale {
    /// The scale of a quantity; numbers of any sign are of about `size`.
    pub(super) fn of(quantity: Quantity, size: f64) -> Self {
        match quantity {
            Quantity::Memory | Quantity::OffsetMemory | Quantity::ShortMemory | Quantity::Share | Quantity::Weight => {
                Self::Logit
            }
            Quantity::PriorMean | Quantity::Bias => Self::Linear(size),
            Quantity::Amplitude => Self::Linear(1.0),
            _ => Self::Log,
        }
    }

    /// The unbounded number of `x`.
    #[must_use]
    pub fn inside(self, x: f64) -> f64 {
        match self {
            Self::Log => x.ln(),
            Self::Logit => x.ln() - (-x).ln_1p(),
            Self::Linear(size) => x / size,
        }
    }

    /// The number whose unbounded one is `theta`.
    #[must_use]
    pub fn outside(self, theta: f64) -> f64 {
        match self {
            Self::Log => theta.exp(),
            Self::Logit => 1.0 / (1.0 + (-theta).exp()),
            Self::Linear(size) => theta * size,
        }
    }

    /// A prior of unbounded numbers, centre and standard deviation; the width is a factor, of odds for shares, or a
    /// difference.
    pub(super) fn prior(self, (centre, width): (f64, f64)) -> (f64, f64) {
        match self {
            Self::Linear(size) => (centre / size, width / size),
            _ => (self.inside(centre), width.ln()),
        }
    }
}

/// One number that is estimated.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// Its position among the numbers of the key, and how many these are.
    pub(super) index: usize,
    pub(super) of: usize,
    pub(super) scale: Scale,
    initial: f64,
    /// Where to begin, unbounded.
    pub(super) start: f64,
    /// Centre and standard deviation, unbounded.
    prior: (f64, f64),
}

impl Entry {
    /// # Errors
    /// [`Error::Setting`] for a start that is not on the scale, or a prior that is none.
    pub(super) fn new(
        key: &Key,
        (index, of): (usize, usize),
        scale: Scale,
        initial: f64,
        prior: (f64, f64),
    ) -> Result<Self> {
        let (start, prior) = (scale.inside(initial), scale.prior(prior));
        if !start.is_finite() {
            return Err(Error::setting(key, format!("cannot be estimated from {initial} on; give another start")));
        }
        if !(prior.0.is_finite() && prior.1 > 0.0 && prior.1.is_finite()) {
            let problem =
                "its prior needs a possible centre and a positive width (a factor above 1 where it is a factor)";
            return Err(Error::setting(key, problem));
        }
        Ok(Self { key: key.clone(), index, of, scale, initial, start, prior })
    }

    /// Begins somewhere else, where that is on the scale.
    pub(super) fn begin_at(&mut self, number: f64) -> bool {
        let start = self.scale.inside(number);
        if start.is_finite() {
            (self.initial, self.start) = (number, start);
        }
        start.is_finite()
    }

    /// The number of an unbounded one; where it began it is what was given, to the last digit.
    pub(super) fn number(&self, theta: f64) -> f64 {
        if theta == self.start { self.initial } else { self.scale.outside(theta) }
    }

    /// Half the squared distance from the prior's centre, in standard deviations: what the prior adds to the negative
    /// log-likelihood; with first and second derivative.
    pub(super) fn penalty(&self, theta: f64) -> [f64; 3] {
        let (centre, sd) = self.prior;
        let distance = (theta - centre) / sd;
        [0.5 * distance * distance, distance / sd, 1.0 / (sd * sd)]
    }

    /// Reciprocal of the prior's variance, of the number itself where its scale is linear.
    pub(super) fn precision(&self) -> f64 {
        let size = if let Scale::Linear(size) = self.scale { size } else { 1.0 };
        (self.prior.1 * size).powi(-2)
    }

    /// Where the optimum is looked for at first, `share` from 0 to 1.
    pub(super) fn spread(&self, share: f64) -> f64 {
        let (centre, sd) = self.prior;
        centre + (2.0 * share - 1.0) * (2.0 * sd).min(WIDE)
    }

    /// The middle of where it is looked for.
    pub(super) fn centre(&self) -> f64 {
        self.spread(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_inverted() {
        for (scale, x) in
            [(Scale::Log, 3e-7), (Scale::Logit, 0.9995), (Scale::Logit, 1e-9), (Scale::Linear(0.02), -0.3)]
        {
            assert!((scale.outside(scale.inside(x)) / x - 1.0).abs() < 1e-12, "{scale:?} {x}");
        }
    }

    #[test]
    fn what_cannot_be_estimated_is_refused_by_key() {
        for (scale, initial, prior) in [
            (Scale::Log, 0.0, (1.0, 2.0)),
            (Scale::Logit, 1.0, (0.5, 2.0)),
            (Scale::Log, 1.0, (1.0, 1.0)),
            (Scale::Linear(1.0), f64::NAN, (0.0, 1.0)),
        ] {
            let refused = Entry::new(&"a.b".into(), (0, 1), scale, initial, prior);
            assert!(refused.unwrap_err().to_string().starts_with("a.b: "));
        }
    }
}
