//! Numbers per component or band.

use std::fmt;

use crate::error::{Error, Result};

/// Positive numbers whose squares and roots are far from the limits of float64.
const SENSIBLE: std::ops::RangeInclusive<f64> = 1e-60..=1e60;

/// One number for all components (or bands), or one for each.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// The same for all.
    Same(f64),
    /// One for each, in order.
    Each(Vec<f64>),
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(value) => write!(f, "{value:?}"),
            Self::Each(values) => write!(f, "{values:?}"),
        }
    }
}

impl Values {
    /// One value for each of `n`. `key` and `item` ("component", "band") are used in the error.
    pub(crate) fn expand(&self, n: usize, key: &str, item: &str) -> Result<Vec<f64>> {
        match self {
            Self::Same(value) => Ok(vec![*value; n]),
            Self::Each(values) if values.len() == n => Ok(values.clone()),
            Self::Each(values) => {
                let found = values.len();
                Err(Error::setting(key, format!("{found} values for {n} {item}s; give one number or one per {item}")))
            }
        }
    }

    /// Like [`expand`](Self::expand); refuses values that are not positive and finite.
    pub(crate) fn expand_positive(&self, n: usize, key: &str, item: &str) -> Result<Vec<f64>> {
        let values = self.expand(n, key, item)?;
        match values.iter().position(|value| !SENSIBLE.contains(value)) {
            Some(index) => {
                let value = values[index];
                Err(Error::setting(
                    key,
                    format!("{value} ({item} {}) must be positive (between 1e-60 and 1e60)", index + 1),
                ))
            }
            None => Ok(values),
        }
    }
}

impl From<f64> for Values {
    fn from(value: f64) -> Self {
        Self::Same(value)
    }
}

impl From<Vec<f64>> for Values {
    fn from(values: Vec<f64>) -> Self {
        Self::Each(values)
    }
}

impl<const N: usize> From<[f64; N]> for Values {
    fn from(values: [f64; N]) -> Self {
        Self::Each(values.to_vec())
    }
}
