//! What a fit has found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Scale;
use super::scale::Entry;
use crate::describe::{Description, Key};

/// One number that was estimated.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Estimate {
    /// Its place in the description.
    pub key: Key,
    /// Its position among the numbers of the key.
    pub index: usize,
    /// How many numbers the key has.
    pub of: usize,
    /// The estimate, in the unit of its key: u for means and biases, u² for variances (per day for those of change), CRS
    /// units for ranges.
    pub value: f64,
    /// Where it was estimated.
    pub scale: Scale,
    /// Standard error of the unbounded number: the larger of that by the curvature of likelihood and prior and that
    /// by the dates' scores; NaN where there is no minimum, and of a comparison's fits, which work out none.
    pub sd: f64,
    /// Whether the observations say anything of it; what they do not is as it was to begin with.
    pub observed: bool,
}

impl Estimate {
    pub(super) fn new(entry: &Entry, theta: f64, sd: Option<f64>) -> Self {
        Self {
            key: entry.key.clone(),
            index: entry.index,
            of: entry.of,
            value: entry.number(theta),
            scale: entry.scale,
            sd: sd.unwrap_or(f64::NAN),
            observed: sd.is_some(),
        }
    }

    /// The values one standard error below and above.
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        let theta = self.scale.inside(self.value);
        (self.scale.outside(theta - self.sd), self.scale.outside(theta + self.sd))
    }

    /// The standard error as text: `x/÷ 1.2` of positive numbers, `± 0.003` of real ones, an interval of shares.
    #[must_use]
    pub fn spread(&self) -> String {
        match self.scale {
            _ if !self.observed => "not observed".into(),
            _ if self.sd.is_nan() => "not determined".into(),
            Scale::Log => format!("x/÷ {:.3}", self.sd.exp()),
            Scale::Logit => {
                let (low, high) = self.interval();
                format!("{low:.4} to {high:.4}")
            }
            Scale::Linear(size) => format!("± {:.2e}", self.sd * size),
        }
    }

    /// How many standard errors `value` lies from the estimate, on its scale.
    #[must_use]
    pub fn distance(&self, value: f64) -> f64 {
        (self.scale.inside(value) - self.scale.inside(self.value)).abs() / self.sd
    }
}

/// A description's numbers at their most likely.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Fit {
    /// Name of the candidate.
    pub candidate: String,
    /// What was found, by key, in the units of [`Estimate::value`].
    pub numbers: BTreeMap<Key, Vec<f64>>,
    /// What was estimated, in the order of the description.
    pub estimates: Vec<Estimate>,
    /// Log-likelihood of the sample, all constants included.
    pub log_likelihood: f64,
    /// What the weak priors take away: half the squared distances from their centres, in standard deviations.
    pub penalty: f64,
    /// Values in the sample.
    pub values: usize,
    /// Blocks that they are from.
    pub blocks: usize,
    /// Steps of searches that were taken; without one the numbers are those that they began with.
    pub steps: usize,
    /// Whether every search ended at a minimum.
    pub converged: bool,
    /// Likelihoods of single blocks and parts that it took.
    pub evaluations: usize,
    /// Time it took; `seconds` in JSON.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
    /// The description that was fitted, with these numbers.
    #[serde(skip)]
    pub description: Description,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Fit {
    /// Numbers that the observations say something of.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.estimates.iter().filter(|estimate| estimate.observed).count()
    }

    /// Akaike's information criterion, `2 k - 2 ln L`, L being likelihood times weak priors: lower is better.
    #[must_use]
    pub fn aic(&self) -> f64 {
        2.0 * self.parameters() as f64 - 2.0 * (self.log_likelihood - self.penalty)
    }

    /// Bayesian information criterion, `k ln n - 2 ln L`, L being likelihood times weak priors: lower is better.
    #[must_use]
    pub fn bic(&self) -> f64 {
        self.parameters() as f64 * (self.values as f64).ln() - 2.0 * (self.log_likelihood - self.penalty)
    }

    /// The estimates of a key.
    pub fn of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a Estimate> {
        self.estimates.iter().filter(move |estimate| estimate.key == *key)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.estimates.iter().map(|estimate| name(estimate).chars().count()).max().unwrap_or(0);
        for estimate in &self.estimates {
            writeln!(f, "{:width$}  {:<11} {}", name(estimate), format!("{:.4e}", estimate.value), estimate.spread())?;
        }
        write!(
            f,
            "log-likelihood {:.1} of {} values, {} parameters, AIC {:.1}, BIC {:.1}; {} evaluations in {:.1} s{}",
            self.log_likelihood,
            self.values,
            self.parameters(),
            self.aic(),
            self.bic(),
            self.evaluations,
            self.time.as_secs_f64(),
            if self.converged { "" } else { "; NOT CONVERGED" }
        )
    }
}

/// A key, with the position where it has several numbers.
fn name(estimate: &Estimate) -> String {
    if estimate.of == 1 { estimate.key.to_string() } else { estimate.key.position(estimate.index).to_string() }
}
