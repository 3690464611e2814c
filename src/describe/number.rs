//! Numbers of a description: given, or left to be estimated.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::ESTIMATE;
use crate::error::{Error, Key, Result};

/// Positive numbers whose squares and roots float64 holds with room to spare.
const SENSIBLE: std::ops::RangeInclusive<f64> = 1e-60..=1e60;

/// A number that is given, or that an [estimation](crate::estimate) is to find.
///
/// ```
/// use rasterfuse::describe::{Free, Number};
/// let given = Number::from(300.0);
/// let free = Number::Free(Free::default().start(300.0).prior(300.0, 3.0)); // within a factor of 3, one standard deviation
/// assert!(free.is_free() && !given.is_free());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Given.
    Fixed(f64),
    /// To be estimated.
    Free(Free),
}

/// What is known of a number before it is estimated. What is left out follows from the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Free {
    /// Where the search begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// A weak prior: its centre, and its width as one standard deviation. The width is a factor for positive numbers,
    /// a factor of the odds for shares between 0 and 1, and a difference for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior: Option<(f64, f64)>,
}

impl Free {
    /// Begins the search here.
    #[must_use]
    pub fn start(mut self, start: f64) -> Self {
        self.start = Some(start);
        self
    }

    /// Believes weakly that the number is near `centre`, within `width`.
    #[must_use]
    pub fn prior(mut self, centre: f64, width: f64) -> Self {
        self.prior = Some((centre, width));
        self
    }
}

impl Number {
    /// Whether it is to be estimated.
    #[must_use]
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Free(_))
    }

    /// The number, where it is given.
    ///
    /// # Errors
    /// [`Error::Setting`] where it is to be estimated.
    pub(crate) fn given(&self, key: &Key) -> Result<f64> {
        match self {
            Self::Fixed(value) => Ok(*value),
            Self::Free(_) => Err(Error::setting(key, "is left to be estimated; estimate it first, or give a number")),
        }
    }

    /// The number, which must lie in [0, 1].
    pub(crate) fn share(&self, key: &Key) -> Result<f64> {
        let value = self.given(key)?;
        if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(Error::number(key, value, "must lie in [0, 1]")) }
    }

    /// The number, which must be positive and finite.
    pub(crate) fn positive(&self, key: &Key) -> Result<f64> {
        let value = self.given(key)?;
        let possible = value > 0.0 && value.is_finite();
        if possible { Ok(value) } else { Err(Error::number(key, value, "must be positive")) }
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Fixed(value)
    }
}

impl From<Free> for Number {
    fn from(free: Free) -> Self {
        Self::Free(free)
    }
}

/// One number for all components (or bands), or one for each.
///
/// Settings take it from a number, an array or a `Vec` of numbers, or from [`Free`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Numbers {
    /// The same for all. Where it is to be estimated, one is estimated for each.
    Same(Number),
    /// One for each, in order.
    Each(Vec<Number>),
    /// A variance, as so many times the [process variance](super::Process::variance) per day of the same band: one
    /// number for all bands. In TOML `{ ratio = 3.0 }`.
    Ratio(Number),
}

impl Numbers {
    /// One value for each of `n`; `of` ("component", "band") serves the message.
    ///
    /// # Errors
    /// [`Error::Setting`] for a list of another length, and where a number is to be estimated.
    pub(crate) fn expand(&self, n: usize, key: &Key, of: &str) -> Result<Vec<f64>> {
        match self {
            Self::Same(value) => Ok(vec![value.given(key)?; n]),
            Self::Each(values) if values.len() == n => values.iter().map(|value| value.given(key)).collect(),
            Self::Each(values) => {
                let found = values.len();
                Err(Error::setting(key, format!("{found} values for {n} {of}s; give one number or one per {of}")))
            }
            Self::Ratio(_) => {
                let problem = "a ratio is for variances that are compared with that of the process; give a number";
                Err(Error::setting(key, problem))
            }
        }
    }

    /// The same numbers, where they are a ratio each as so many times its unit.
    ///
    /// # Errors
    /// [`Error::Setting`] where the ratio is to be estimated.
    pub(crate) fn of_units(&self, units: &[f64], key: &Key) -> Result<Self> {
        match self {
            Self::Ratio(ratio) => {
                let ratio = ratio.given(&key.name("ratio"))?;
                Ok(units.iter().map(|unit| ratio * unit).collect::<Vec<_>>().into())
            }
            other => Ok(other.clone()),
        }
    }

    /// A ratio to the process variance of the same band.
    #[must_use]
    pub fn ratio(ratio: impl Into<Number>) -> Self {
        Self::Ratio(ratio.into())
    }

    /// Whether it is a ratio.
    #[must_use]
    pub fn is_ratio(&self) -> bool {
        matches!(self, Self::Ratio(_))
    }

    /// As [`expand`](Self::expand), refusing what is not positive and finite.
    ///
    /// # Errors
    /// Also [`Error::Number`].
    pub(crate) fn expand_positive(&self, n: usize, key: &Key, of: &str) -> Result<Vec<f64>> {
        let values = self.expand(n, key, of)?;
        match values.iter().position(|value| !SENSIBLE.contains(value)) {
            Some(index) => {
                let problem = format!("({of} {}) must be positive (between 1e-60 and 1e60)", index + 1);
                Err(Error::number(key, values[index], problem))
            }
            None => Ok(values),
        }
    }

    /// As [`expand`](Self::expand), refusing what `possible` refuses.
    ///
    /// # Errors
    /// Also [`Error::Number`], which says that the value `must`.
    pub(crate) fn expand_where(
        &self,
        (n, of): (usize, &str),
        key: &Key,
        possible: impl Fn(f64) -> bool,
        must: &str,
    ) -> Result<Vec<f64>> {
        let values = self.expand(n, key, of)?;
        match values.iter().find(|value| !possible(**value)) {
            Some(value) => Err(Error::number(key, *value, must)),
            None => Ok(values),
        }
    }

    /// The single numbers that are written.
    pub(crate) fn written(&mut self) -> &mut [Number] {
        match self {
            Self::Same(number) | Self::Ratio(number) => std::slice::from_mut(number),
            Self::Each(numbers) => numbers,
        }
    }

    /// The numbers that are written, where all are given and none is a ratio.
    #[must_use]
    pub fn fixed(&self) -> Option<Vec<f64>> {
        let fixed = |number: &Number| match number {
            Number::Fixed(value) => Some(*value),
            Number::Free(_) => None,
        };
        match self {
            Self::Same(number) => fixed(number).map(|number| vec![number]),
            Self::Each(numbers) => numbers.iter().map(fixed).collect(),
            Self::Ratio(_) => None,
        }
    }

    /// Whether any is to be estimated.
    #[must_use]
    pub fn has_free(&self) -> bool {
        match self {
            Self::Same(number) | Self::Ratio(number) => number.is_free(),
            Self::Each(numbers) => numbers.iter().any(Number::is_free),
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |number: &Number| match number {
            Number::Fixed(value) => format!("{value:?}"),
            Number::Free(_) => format!("{ESTIMATE:?}"),
        };
        match self {
            Self::Same(number) => f.write_str(&text(number)),
            Self::Each(numbers) => write!(f, "[{}]", numbers.iter().map(text).collect::<Vec<_>>().join(", ")),
            Self::Ratio(number) => write!(f, "{{ ratio = {} }}", text(number)),
        }
    }
}

impl<N: Into<Number>> From<N> for Numbers {
    fn from(value: N) -> Self {
        Self::Same(value.into())
    }
}

impl<N: Into<Number>> From<Vec<N>> for Numbers {
    fn from(values: Vec<N>) -> Self {
        Self::Each(values.into_iter().map(Into::into).collect())
    }
}

impl<N: Into<Number>, const M: usize> From<[N; M]> for Numbers {
    fn from(values: [N; M]) -> Self {
        Self::Each(values.into_iter().map(Into::into).collect())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(value) => serializer.serialize_f64(*value),
            Self::Free(free) if *free == Free::default() => serializer.serialize_str(ESTIMATE),
            Self::Free(free) => free.serialize(serializer),
        }
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Same(number) => number.serialize(serializer),
            Self::Each(numbers) => serializer.collect_seq(numbers),
            Self::Ratio(number) => serializer.collect_map([("ratio", number)]),
        }
    }
}

/// Reads a number: itself, the word for what is to be estimated, or a table of what is known of it.
struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number or {ESTIMATE:?}")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number::Fixed(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number::Fixed(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number::Fixed(value as f64))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Number, E> {
        if value == ESTIMATE {
            Ok(Number::Free(Free::default()))
        } else {
            Err(E::invalid_value(de::Unexpected::Str(value), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Number, A::Error> {
        Free::deserialize(de::value::MapAccessDeserializer::new(map)).map(Number::Free)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// What is known of numbers before they are estimated, or a ratio.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NumbersTable {
    start: Option<f64>,
    prior: Option<(f64, f64)>,
    ratio: Option<Number>,
}

/// Reads a number, a list of numbers or a ratio.
struct NumbersVisitor;

impl<'de> Visitor<'de> for NumbersVisitor {
    type Value = Numbers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number, a list of numbers or {ESTIMATE:?}")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Numbers, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Numbers, E> {
        Ok((value as f64).into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Numbers, E> {
        Ok((value as f64).into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Numbers, E> {
        if value == ESTIMATE {
            Ok(Free::default().into())
        } else {
            Err(E::invalid_value(de::Unexpected::Str(value), &self))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Numbers, A::Error> {
        let NumbersTable { start, prior, ratio } =
            NumbersTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
        match (ratio, start.is_none() && prior.is_none()) {
            (None, _) => Ok(Free { start, prior }.into()),
            (Some(ratio), true) => Ok(Numbers::Ratio(ratio)),
            (Some(_), false) => {
                Err(de::Error::custom("`start` and `prior` of a ratio belong into it: { ratio = { start = 3.0 } }"))
            }
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Numbers, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(Numbers::Each(values))
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumbersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_long_as_what_they_are_for() {
        let key = Key::from("a.b");
        assert_eq!(Numbers::from(2.0).expand(3, &key, "band").unwrap(), [2.0; 3]);
        let message = Numbers::from([1.0, 2.0]).expand(3, &key, "band").unwrap_err().to_string();
        assert_eq!(message, "a.b: 2 values for 3 bands; give one number or one per band");
        let free = Numbers::from([Number::from(1.0), Free::default().into()]);
        assert!(free.has_free() && free.expand(2, &key, "band").unwrap_err().to_string().contains("estimate"));
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for text in [
            "0.5",
            "[1.0,2.0]",
            "\"estimate\"",
            "[1.0,\"estimate\"]",
            "{\"start\":1.0,\"prior\":[1.0,3.0]}",
            "{\"ratio\":3.0}",
            "{\"ratio\":\"estimate\"}",
        ] {
            let numbers: Numbers = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&numbers).unwrap(), text);
        }
        assert!(serde_json::from_str::<Numbers>("\"many\"").unwrap_err().to_string().contains("a list of numbers"));
    }
}
