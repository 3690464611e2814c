//! Tables of a description that are given, or left to be chosen.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor as DeVisitor};
use serde::{Deserialize, Serialize, Serializer};

use super::visit::{Visit, Visitor};
use super::{ESTIMATE, Key};
use crate::error::{Error, Result};

/// A table that is given, or whose structure an [estimation](crate::estimate) is to choose.
#[derive(Clone, Debug, PartialEq)]
pub enum Structure<T> {
    /// Given; numbers in it may still be free.
    Given(T),
    /// To be chosen, with all its numbers.
    Free,
}

impl<T> Structure<T> {
    /// The table, where it is given.
    #[must_use]
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(table) => Some(table),
            Self::Free => None,
        }
    }

    /// The table, where it is given.
    pub(crate) fn given_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Given(table) => Some(table),
            Self::Free => None,
        }
    }

    /// The table.
    ///
    /// # Errors
    /// [`Error::Setting`] where it is to be chosen.
    pub(crate) fn chosen(&self, key: impl Into<Key>) -> Result<&T> {
        let free = || Error::setting(key, "not given, or left to be estimated; describe it, or estimate it first");
        self.given().ok_or_else(free)
    }

    /// Whether it is to be chosen.
    #[must_use]
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }
}

impl<T> From<T> for Structure<T> {
    fn from(table: T) -> Self {
        Self::Given(table)
    }
}

impl<T: Visit> Visit for Structure<T> {
    fn visit(&mut self, at: &Key, visit: &mut Visitor<'_>) {
        if let Self::Given(table) = self {
            table.visit(at, visit);
        }
    }
}

impl<T: Serialize> Serialize for Structure<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Given(table) => table.serialize(serializer),
            Self::Free => serializer.serialize_str(ESTIMATE),
        }
    }
}

/// A part of a description whose structure may be left to be chosen.
pub trait Choosable {
    /// Whether it is a list of tables rather than a table.
    const IS_LIST: bool = false;
}

impl<T> Choosable for Vec<T> {
    const IS_LIST: bool = true;
}

/// Reads a table, a list of tables, or the word for what is to be estimated.
struct StructureVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Choosable> DeVisitor<'de> for StructureVisitor<T> {
    type Value = Structure<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = if T::IS_LIST { "a list of tables" } else { "a table" };
        write!(f, "{table} or {ESTIMATE:?}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == ESTIMATE { Ok(Structure::Free) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Structure::Given)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        // A table that is written as a list would be read by position.
        if !T::IS_LIST {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        T::deserialize(SeqAccessDeserializer::new(seq)).map(Structure::Given)
    }
}

impl<'de, T: Deserialize<'de> + Choosable> Deserialize<'de> for Structure<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StructureVisitor(PhantomData))
    }
}
