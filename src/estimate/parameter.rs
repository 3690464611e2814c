use serde::Serialize;

use crate::error::{Error, Result};

/// Half-width in which an optimum without prior is looked for at first, in units of the scale: a factor of 1000 for positive
/// numbers.
const WIDE: f64 = 6.9;

/// Where a parameter lives: it is estimated as a number without bounds.
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
}

/// A number, or one for each component or band, that is to be estimated.
///
/// ```
/// use rasterfuse::estimate::Parameter;
/// // one variance for each of three bands, believed to be near 1e-4 within a factor of 10 (one standard deviation)
/// let variance = Parameter::positive("process.variance", [1e-4; 3]).prior(1e-4, 10.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub(super) key: String,
    pub(super) scale: Scale,
    pub(super) initial: Vec<f64>,
    /// Centre and standard deviation of each number's unbounded one; `None` says nothing.
    pub(super) priors: Option<Vec<(f64, f64)>>,
}

impl Parameter {
    /// Positive numbers, with where to begin: variances, ranges. Without a [prior](Self::prior) nothing is believed of them.
    #[must_use]
    pub fn positive(key: impl Into<String>, initial: impl Into<Vec<f64>>) -> Self {
        Self { key: key.into(), scale: Scale::Log, initial: initial.into(), priors: None }
    }

    /// Numbers between 0 and 1, with where to begin: memories, shares.
    #[must_use]
    pub fn share(key: impl Into<String>, initial: impl Into<Vec<f64>>) -> Self {
        Self { key: key.into(), scale: Scale::Logit, initial: initial.into(), priors: None }
    }

    /// Any numbers of about the given size, with where to begin: biases, means.
    #[must_use]
    pub fn real(key: impl Into<String>, initial: impl Into<Vec<f64>>, size: f64) -> Self {
        Self { key: key.into(), scale: Scale::Linear(size), initial: initial.into(), priors: None }
    }

    /// What is weakly believed of every number: a centre and the width of a normal density about it, one standard deviation.
    /// Width is a factor of positive numbers (10: within a factor of 10), a factor of the odds of shares, and a difference of real
    /// numbers.
    #[must_use]
    pub fn prior(self, centre: f64, width: f64) -> Self {
        let each = vec![(centre, width); self.initial.len()];
        self.priors(each)
    }

    /// As [`prior`](Self::prior), (centre, width) for each number.
    #[must_use]
    pub fn priors(mut self, each: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let scale = self.scale;
        let inside = |(centre, width): (f64, f64)| match scale {
            Scale::Linear(size) => (centre / size, width / size),
            _ => (scale.inside(centre), width.ln()),
        };
        self.priors = Some(each.into_iter().map(inside).collect());
        self
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How many numbers it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.initial.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.initial.is_empty()
    }

    /// Its numbers, each by itself.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let refuse = |problem: String| Err(Error::setting(&self.key, problem));
        if self.priors.as_ref().is_some_and(|priors| priors.len() != self.len()) {
            return refuse(format!("{} numbers to estimate, but not as many priors", self.len()));
        }
        let mut entries = Vec::with_capacity(self.len());
        for (index, &initial) in self.initial.iter().enumerate() {
            let start = self.scale.inside(initial);
            if !start.is_finite() {
                return refuse(format!("cannot be estimated beginning with {initial} on the scale {:?}", self.scale));
            }
            let prior = self.priors.as_ref().map(|priors| priors[index]);
            if let Some((centre, width)) = prior
                && !(centre.is_finite() && width > 0.0 && width.is_finite())
            {
                return refuse(
                    "its prior needs a finite centre and a positive width, a factor above 1 where it is one".into(),
                );
            }
            let key = self.key.clone();
            entries.push(Entry { key, index, of: self.len(), scale: self.scale, initial, start, prior });
        }
        Ok(entries)
    }
}

/// One number that is estimated.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) index: usize,
    /// How many its parameter has.
    pub(super) of: usize,
    pub(super) scale: Scale,
    initial: f64,
    /// Where to begin, unbounded.
    pub(super) start: f64,
    /// Centre and standard deviation, unbounded.
    prior: Option<(f64, f64)>,
}

impl Entry {
    /// The number of an unbounded one; where it began it is what was given, to the last digit.
    pub(super) fn number(&self, theta: f64) -> f64 {
        if theta == self.start { self.initial } else { self.scale.outside(theta) }
    }

    /// Half the squared distance from the prior's centre, in standard deviations: what the prior adds to the negative
    /// log-likelihood; with first and second derivative.
    pub(super) fn penalty(&self, theta: f64) -> [f64; 3] {
        self.prior.map_or([0.0; 3], |(centre, sd)| {
            let distance = (theta - centre) / sd;
            [0.5 * distance * distance, distance / sd, 1.0 / (sd * sd)]
        })
    }

    /// Where the optimum is looked for at first, `share` from 0 to 1.
    pub(super) fn spread(&self, share: f64) -> f64 {
        let (centre, half) = self.prior.map_or((self.start, WIDE), |(centre, sd)| (centre, (2.0 * sd).min(WIDE)));
        centre + (2.0 * share - 1.0) * half
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
    fn scales_go_there_and_back() {
        for (scale, x) in
            [(Scale::Log, 3e-7), (Scale::Logit, 0.9995), (Scale::Logit, 1e-9), (Scale::Linear(0.02), -0.3)]
        {
            assert!((scale.outside(scale.inside(x)) / x - 1.0).abs() < 1e-12, "{scale:?} {x}");
        }
    }

    #[test]
    fn what_cannot_be_estimated_is_refused_by_key() {
        for parameter in [
            Parameter::positive("a.b", [0.0]),
            Parameter::share("a.b", [1.0]),
            Parameter::positive("a.b", [1.0]).prior(1.0, 1.0),
            Parameter::positive("a.b", [1.0, 2.0]).priors([(1.0, 10.0)]),
            Parameter::real("a.b", [f64::NAN], 1.0),
        ] {
            assert!(parameter.entries().unwrap_err().to_string().starts_with("a.b: "));
        }
    }
}
