//! What the result is: dates, bands or components, smoothing, and the store that it goes to.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{Codec, Dtype, Indices, Numbers};
use crate::geometry::Date;
use crate::spectral::pair_count;

/// What the result is and where it goes: the table `[output]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Output {
    /// Folder of the Zarr store.
    pub store: PathBuf,
    /// Bands or components.
    #[serde(default)]
    pub space: OutputSpace,
    /// What standard deviations are multiplied by.
    #[serde(default = "unit")]
    pub sd_factor: Numbers,
    /// Functions of the bands that are output after them.
    #[serde(default, skip_serializing_if = "Indices::is_empty")]
    pub indices: Indices,
    /// Whether offsets of instruments are output.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offsets: bool,
    /// Type of stored numbers; float32 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Step of means stored as int16, in u.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// What a mean stored as the int16 0 stands for, in u; 0 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_offset: Option<f64>,
    /// Step of standard deviations stored as uint16, in u; a tenth of that of the means without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd_scale: Option<f64>,
    /// Share of the standard deviation below which digits of float32 are rounded away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<f64>,
    /// Compression of chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<Codec>,
    /// Its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec_level: Option<u8>,
    /// Dates of a tile that share a file or object; 1 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dates_per_object: Option<usize>,
    /// Overviews, each with cells of twice the size of the one before; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overviews: Option<usize>,
    /// Version of the Zarr format, 3 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zarr_format: Option<u8>,
    /// Cells per tile `[rows, columns]`, which are the chunks of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<[usize; 2]>,
}

fn unit() -> Numbers {
    1.0.into()
}

impl Default for Output {
    fn default() -> Self {
        Self {
            store: PathBuf::new(),
            space: OutputSpace::Bands,
            sd_factor: unit(),
            indices: Indices::default(),
            offsets: false,
            dtype: None,
            scale: None,
            add_offset: None,
            sd_scale: None,
            round: None,
            codec: None,
            codec_level: None,
            dates_per_object: None,
            overviews: None,
            zarr_format: None,
            tile: None,
        }
    }
}

/// How many later dates a value uses: the table `[smoothing]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Smoothing {
    /// Dates of the output axis; with 0 values rest on the past only.
    pub lag: usize,
}

/// What a result holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OutputSpace {
    /// Mean and standard deviation of each target band.
    #[default]
    Bands,
    /// Mean and covariances of the components of a [spectral basis](crate::spectral::SpectralBasis): far smaller, and
    /// all bands with their uncertainty follow from them
    /// ([`SpectralBasis::band`](crate::spectral::SpectralBasis::band)).
    Components,
}

impl OutputSpace {
    /// Layers of means and of uncertainties where there are so many bands and components.
    pub(crate) fn layers(self, bands: usize, components: usize) -> (usize, usize) {
        match self {
            Self::Bands => (bands, bands),
            Self::Components => (components, pair_count(components)),
        }
    }
}

impl fmt::Display for OutputSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bands => "bands",
            Self::Components => "components",
        })
    }
}

/// Which dates are output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputDates {
    /// Every day of the period.
    #[default]
    Daily,
    /// The dates on which any instrument observes.
    Observed,
    /// These dates.
    Dates(Vec<Date>),
}

const DAILY: &str = "daily";
const OBSERVED: &str = "observed";

impl Serialize for OutputDates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Daily => serializer.serialize_str(DAILY),
            Self::Observed => serializer.serialize_str(OBSERVED),
            Self::Dates(dates) => dates.serialize(serializer),
        }
    }
}

/// Reads a word or a list of dates.
struct DatesVisitor;

impl<'de> Visitor<'de> for DatesVisitor {
    type Value = OutputDates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DAILY:?}, {OBSERVED:?} or a list of dates")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OutputDates, E> {
        match text {
            DAILY => Ok(OutputDates::Daily),
            OBSERVED => Ok(OutputDates::Observed),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OutputDates, A::Error> {
        let mut dates = Vec::new();
        while let Some(date) = seq.next_element()? {
            dates.push(date);
        }
        Ok(OutputDates::Dates(dates))
    }
}

impl<'de> Deserialize<'de> for OutputDates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatesVisitor)
    }
}
