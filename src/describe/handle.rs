//! Inputs that a description names, or holds once they are opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::AcquisitionGroups;
use crate::error::{Error, Key, Result};
use crate::seasonal::SeasonalMean;
use crate::source::RasterSource;
use crate::spectral::{SpectralBasis, SpectralResponse};

/// A raster of which the first date is read: named by its path, opened, or both.
#[derive(Clone, Debug)]
pub struct Raster {
    path: Option<PathBuf>,
    source: Option<Arc<dyn RasterSource>>,
}

impl Raster {
    /// A raster that is named by its path, relative to the folder of the description.
    #[must_use]
    pub fn named(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), source: None }
    }

    /// The same, opened.
    #[must_use]
    pub fn opened(self, source: impl RasterSource + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// Its path, where it was named.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The raster, once it is opened.
    ///
    /// # Errors
    /// [`Error::Setting`] while it is only named.
    pub(crate) fn source(&self, key: &Key) -> Result<&Arc<dyn RasterSource>> {
        self.source.as_ref().ok_or_else(|| Error::setting(key, "the raster is not opened"))
    }

    /// Forgets where it was read from: what it holds is what counts.
    pub(crate) fn forget_path(&mut self) {
        if self.source.is_some() {
            self.path = None;
        }
    }
}

impl<S: RasterSource + 'static> From<S> for Raster {
    fn from(source: S) -> Self {
        Self { path: None, source: Some(Arc::new(source)) }
    }
}

/// The very same raster.
impl PartialEq for Raster {
    fn eq(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => self.path == other.path,
            _ => false,
        }
    }
}

/// Its path, or what it reports of itself where it was never named.
impl Serialize for Raster {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (&self.path, &self.source) {
            (Some(path), _) => path.serialize(serializer),
            (None, Some(source)) => {
                let kind = ("kind".to_owned(), "a raster".to_owned());
                serializer.collect_map(std::iter::once(kind).chain(source.settings()))
            }
            (None, None) => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Raster {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PathBuf::deserialize(deserializer).map(Self::named)
    }
}

/// A seasonal mean: the table `[seasonal]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Seasonal {
    /// The mean.
    pub mean: MeanFunction,
}

/// A seasonal mean: named by the path of its store, or opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MeanFunction {
    /// The path of its store, relative to the folder of the description.
    Path(PathBuf),
    /// Opened.
    Open(SeasonalMean),
}

impl Serialize for MeanFunction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Path(path) => path.serialize(serializer),
            Self::Open(mean) => serializer.collect_map(mean.settings()),
        }
    }
}

impl<'de> Deserialize<'de> for MeanFunction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PathBuf::deserialize(deserializer).map(Self::Path)
    }
}

/// A spectral basis: the files of the table `[basis]`, or a basis that is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Basis {
    /// Its files.
    Files(BasisFiles),
    /// Opened.
    Open(Arc<SpectralBasis>),
}

/// Files of a spectral basis.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BasisFiles {
    /// A `.npy` file of shape (wavelengths).
    pub mean: PathBuf,
    /// A `.npy` file of shape (wavelengths, components).
    pub matrix: PathBuf,
}

impl Serialize for Basis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Files(files) => files.serialize(serializer),
            Self::Open(basis) => serializer.serialize_str(&basis.summary()),
        }
    }
}

impl<'de> Deserialize<'de> for Basis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BasisFiles::deserialize(deserializer).map(Self::Files)
    }
}

/// The spectral response of an instrument's bands: the table `response`, or a response that is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Response {
    /// What the table says.
    Described(ResponseKeys),
    /// Opened.
    Open(SpectralResponse),
}

/// Either centres and widths, or a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ResponseKeys {
    /// Centres of the bands, in nm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centre_nm: Option<Vec<f64>>,
    /// Full widths of the bands at half maximum, in nm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwhm_nm: Option<Vec<f64>>,
    /// A CSV file of curves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<PathBuf>,
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Described(keys) => keys.serialize(serializer),
            Self::Open(response) => serializer.serialize_str(&response.summary()),
        }
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ResponseKeys::deserialize(deserializer).map(Self::Described)
    }
}

/// Groups of acquisitions: found by a pattern or in a table, or opened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Groups {
    /// A regular expression for the files' paths; its first group is the name.
    Pattern(String),
    /// A CSV file with the columns date and group.
    Table(PathBuf),
    /// Opened.
    Open(AcquisitionGroups),
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pattern(pattern) => serializer.serialize_str(pattern),
            Self::Table(table) => serializer.collect_map([("table", table)]),
            Self::Open(groups) => groups.names().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct GroupTable {
            table: PathBuf,
        }

        struct GroupsVisitor;

        impl<'de> Visitor<'de> for GroupsVisitor {
            type Value = Groups;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a regular expression for the files' paths or { table = \"groups.csv\" }")
            }

            fn visit_str<E: de::Error>(self, pattern: &str) -> Result<Groups, E> {
                Ok(Groups::Pattern(pattern.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Groups, A::Error> {
                let GroupTable { table } = GroupTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Groups::Table(table))
            }
        }

        deserializer.deserialize_any(GroupsVisitor)
    }
}
