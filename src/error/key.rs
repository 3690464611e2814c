//! The name of a place in a description: what errors, standard errors, settings and messages about TOML call it.

use std::fmt;

use serde::{Serialize, Serializer};

/// A place in a [`Description`](crate::describe::Description): names of tables and keys, positions in lists.
///
/// Printed as `process.nested 2.range` or `instrument "modis": noise_variance`: positions count from 1, instruments
/// go by their names. What is printed can be read again by `From<&str>`.
///
/// ```
/// use rasterfuse::describe::Key;
/// let key = Key::from("process").name("nested").position(1).name("range");
/// assert_eq!(key.to_string(), "process.nested 2.range");
/// assert_eq!(Key::from(key.to_string()), key);
/// assert_eq!(Key::of_instrument("modis").name("bias").to_string(), "instrument \"modis\": bias");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<KeyStep>);

/// One step of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyStep {
    /// A table or a value of this name.
    Name(String),
    /// An entry of a list, from 0.
    Position(usize),
    /// The instrument of this name.
    Instrument(String),
}

impl Key {
    /// The table of an instrument.
    #[must_use]
    pub fn of_instrument(name: impl Into<String>) -> Self {
        Self(vec![KeyStep::Instrument(name.into())])
    }

    /// The place of this name inside.
    #[must_use]
    pub fn name(&self, name: impl Into<String>) -> Self {
        self.then(KeyStep::Name(name.into()))
    }

    /// The entry of a list at this position, from 0.
    #[must_use]
    pub fn position(&self, index: usize) -> Self {
        self.then(KeyStep::Position(index))
    }

    fn then(&self, step: KeyStep) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The same place inside the table of an instrument, unless it is one of an instrument already.
    #[must_use]
    pub fn inside_instrument(&self, name: &str) -> Self {
        match self.0.first() {
            Some(KeyStep::Instrument(_)) => self.clone(),
            _ => Self(std::iter::once(KeyStep::Instrument(name.to_owned())).chain(self.0.iter().cloned()).collect()),
        }
    }

    /// A place by its steps.
    #[cfg(feature = "config")]
    pub(crate) fn from_steps(steps: &[KeyStep]) -> Self {
        Self(steps.to_vec())
    }

    /// The steps, from the outermost on.
    #[must_use]
    pub fn steps(&self) -> &[KeyStep] {
        &self.0
    }

    /// Names of tables and keys without positions: `process.nested.range`, `instrument.bias`. It identifies
    /// what holds for a key in every table.
    #[must_use]
    pub fn path(&self) -> String {
        let names = self.0.iter().filter_map(|step| match step {
            KeyStep::Name(name) => Some(name.as_str()),
            KeyStep::Position(_) => None,
            KeyStep::Instrument(_) => Some("instrument"),
        });
        names.collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, step) in self.0.iter().enumerate() {
            let after_instrument = k > 0 && matches!(self.0[k - 1], KeyStep::Instrument(_));
            match step {
                KeyStep::Name(name) if k == 0 => f.write_str(name)?,
                KeyStep::Name(name) if after_instrument => write!(f, ": {name}")?,
                KeyStep::Name(name) => write!(f, ".{name}")?,
                KeyStep::Position(index) => write!(f, " {}", index + 1)?,
                KeyStep::Instrument(name) => write!(f, "instrument {name:?}")?,
            }
        }
        Ok(())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = text;
        if let Some((name, after)) = text.strip_prefix("instrument \"").and_then(|quoted| quoted.split_once('"')) {
            steps.push(KeyStep::Instrument(name.to_owned()));
            rest = after.trim_start_matches(": ");
        }
        for part in rest.split('.').filter(|part| !part.is_empty()) {
            let numbered = part.rsplit_once(' ').and_then(|(name, number)| Some((name, number.parse::<usize>().ok()?)));
            match numbered {
                Some((name, number)) if number > 0 => {
                    steps.extend([KeyStep::Name(name.to_owned()), KeyStep::Position(number - 1)]);
                }
                _ => steps.push(KeyStep::Name(part.to_owned())),
            }
        }
        Self(steps)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// The key that a text is read as.
impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        let other: Self = (*other).into();
        *self == other
    }
}

/// As text.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        for text in [
            "",
            "process",
            "process.variance",
            "process.field 2.range",
            "instrument \"a b\"",
            "instrument \"modis\": offset_layer 1.variance",
            "instrument 3: name",
        ] {
            let key = Key::from(text);
            assert_eq!(Key::from(key.to_string()), key, "{text}");
        }
        let layer = Key::of_instrument("m").name("offset_layer").position(0).name("variance");
        assert_eq!(layer.to_string(), "instrument \"m\": offset_layer 1.variance");
        assert_eq!(layer.path(), "instrument.offset_layer.variance");
        assert_eq!(Key::from("variance").inside_instrument("m"), Key::of_instrument("m").name("variance"));
    }
}
