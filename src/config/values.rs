//! Values that TOML may write in more than one way.

use std::fmt;
use std::path::PathBuf;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::describe::OutputDates;
use crate::engine::MemoryBudget;
use crate::geometry::Date;
use crate::describe::Numbers;

/// One number or a list of them.
#[derive(Clone, Debug)]
pub(super) struct Numbers(pub(super) Values);

/// One number, a list of them, or the path of a raster.
#[derive(Clone, Debug)]
pub(super) enum NumbersOrPath {
    Numbers(Values),
    Path(PathBuf),
}

/// A date, quoted or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day(pub(super) Date);

/// `"daily"`, `"observed"`, or a list of dates.
#[derive(Clone, Debug)]
pub(super) struct DateList(pub(super) OutputDates);

/// A size such as `"2GiB"`, or a fraction of the machine's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(pub(super) MemoryBudget);

/// `"cell"`, `"uniform"`, or `{ gaussian_fwhm = 500.0 }`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Cell,
    Uniform,
    Gaussian(f64),
}

/// The name of a band, or its number.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected the name of a band or its number from 1")]
pub(super) enum BandName {
    Name(String),
    Number(u32),
}

impl fmt::Display for BandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A table, or a list of them.
#[derive(Clone, Debug)]
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let list = match value {
            toml::Value::Array(list) => list,
            one => vec![one],
        };
        let read = |value: toml::Value| value.try_into().map_err(de::Error::custom);
        list.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// Reads a number or a list of numbers; a text only where one is expected.
struct NumbersVisitor {
    path: bool,
}

impl<'de> Visitor<'de> for NumbersVisitor {
    type Value = NumbersOrPath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path {
            "a number, a list of numbers, or the path of a raster"
        } else {
            "a number or a list of numbers"
        })
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(NumbersOrPath::Numbers(Values::Same(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        if self.path {
            Ok(NumbersOrPath::Path(value.into()))
        } else {
            Err(E::invalid_type(de::Unexpected::Str(value), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(NumbersOrPath::Numbers(Values::Each(values)))
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(NumbersVisitor { path: false })? {
            NumbersOrPath::Numbers(values) => Ok(Self(values)),
            NumbersOrPath::Path(_) => Err(de::Error::custom("expected a number or a list of numbers")),
        }
    }
}

impl<'de> Deserialize<'de> for NumbersOrPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumbersVisitor { path: true })
    }
}

impl Day {
    fn from_toml<E: de::Error>(value: &toml::Value) -> Result<Self, E> {
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Datetime(datetime) => datetime.date.map(|date| date.to_string()).unwrap_or_default(),
            other => other.to_string(),
        };
        text.parse().map(Self).map_err(|_| E::custom(format!("{text:?} is not a date such as \"2020-03-08\"")))
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_toml(&toml::Value::deserialize(deserializer)?)
    }
}

impl<'de> Deserialize<'de> for DateList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) if text == "daily" => Ok(Self(OutputDates::Daily)),
            toml::Value::String(text) if text == "observed" => Ok(Self(OutputDates::Observed)),
            toml::Value::Array(dates) => {
                let dates: Result<Vec<Date>, _> =
                    dates.iter().map(|date| Day::from_toml(date).map(|day| day.0)).collect();
                Ok(Self(OutputDates::Dates(dates?)))
            }
            other => {
                Err(de::Error::custom(format!("expected \"daily\", \"observed\" or a list of dates, found {other}")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = |found: &toml::Value| {
            de::Error::custom(format!("expected a size such as \"2GiB\" or a fraction such as 0.25, found {found}"))
        };
        let value = toml::Value::deserialize(deserializer)?;
        let budget = match &value {
            toml::Value::String(text) => {
                MemoryBudget::Bytes(text.parse::<ByteSize>().map_err(|_| expected(&value))?.as_u64())
            }
            toml::Value::Float(fraction) => MemoryBudget::Fraction(*fraction),
            toml::Value::Integer(1) => MemoryBudget::Fraction(1.0),
            _ => return Err(expected(&value)),
        };
        Ok(Self(budget))
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|value| value as f64))
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) if text == "cell" => Ok(Self::Cell),
            toml::Value::String(text) if text == "uniform" => Ok(Self::Uniform),
            toml::Value::Table(table)
                if let (1, Some(fwhm)) = (table.len(), table.get("gaussian_fwhm").and_then(number)) =>
            {
                Ok(Self::Gaussian(fwhm))
            }
            other => Err(de::Error::custom(format!(
                "expected \"cell\", \"uniform\" or {{ gaussian_fwhm = ... }}, found {other}"
            ))),
        }
    }
}
