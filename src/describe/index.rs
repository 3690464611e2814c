//! Functions of the bands that are output with them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use super::Key;

/// A function of the target bands, such as `ndvi = "(nir - red) / (nir + red)"`.
///
/// Expressions have names of bands, numbers, `+`, `-`, `*`, `/`, `^`, parentheses and the functions `sqrt`, `exp`,
/// `ln`, `log10` and `tanh`. Names that are no words stand in braces: `{band 1}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Index {
    /// Its name among the bands of the output.
    pub name: String,
    /// What it is of the bands.
    pub expression: String,
}

/// Indices in the order of their output: the table `[output.indices]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices(Vec<Index>);

impl Indices {
    /// Adds an index after the others.
    pub fn add(&mut self, name: impl Into<String>, expression: impl Into<String>) {
        self.0.push(Index { name: name.into(), expression: expression.into() });
    }

    /// The indices, in order.
    #[must_use]
    pub fn list(&self) -> &[Index] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key of the table.
    pub(crate) fn key() -> Key {
        Key::from("output").name("indices")
    }
}

/// As a table of TOML.
impl fmt::Display for Indices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.0.iter().map(|index| format!("{:?} = {:?}", index.name, index.expression));
        write!(f, "{{ {} }}", entries.collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for Indices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|index| (&index.name, &index.expression)))
    }
}

/// Reads a table, whose order counts.
struct IndicesVisitor;

impl<'de> Visitor<'de> for IndicesVisitor {
    type Value = Indices;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of names and expressions, such as { ndvi = \"(nir - red) / (nir + red)\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Indices, A::Error> {
        let mut indices = Indices::default();
        while let Some((name, expression)) = map.next_entry::<String, String>()? {
            indices.add(name, expression);
        }
        Ok(indices)
    }
}

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(IndicesVisitor)
    }
}
