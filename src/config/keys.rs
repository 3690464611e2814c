//! Keys of an instrument that say where its files are and how their numbers are read.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

#[cfg(all(feature = "gdal", feature = "zarr"))]
use crate::error::{Error, Result};
use crate::geometry::Date;

/// Where the files of an instrument are and how their numbers are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SourceKeys {
    pub(super) preset: Option<String>,
    pub(super) files: Option<String>,
    pub(super) list: Option<PathBuf>,
    pub(super) stac: Option<PathBuf>,
    pub(super) query: Option<Map<String, Value>>,
    pub(super) max_cloud_cover: Option<f64>,
    pub(super) item_headers: Option<bool>,
    pub(super) zarr: Option<PathBuf>,
    pub(super) series: Option<PathBuf>,
    pub(super) variable: Option<String>,
    pub(super) variables: Option<Vec<String>>,
    pub(super) dimensions: Option<Dimensions>,
    pub(super) crs: Option<String>,
    pub(super) drivers: Option<Vec<String>>,
    pub(super) dates: Option<Vec<Date>>,
    pub(super) date: Option<String>,
    pub(super) date_format: Option<String>,
    pub(super) source_bands: Option<Vec<BandName>>,
    pub(super) reproject: Option<Reproject>,
    pub(super) mosaic: Option<bool>,
    pub(super) resolution: Option<f64>,
    pub(super) scale: Option<f64>,
    pub(super) offset: Option<f64>,
    pub(super) offset_by: Option<OffsetBy>,
    #[serde(deserialize_with = "numbers")]
    pub(super) nodata: Option<Vec<f64>>,
    pub(super) valid_range: Option<[f64; 2]>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) quality: Option<Vec<QualityRule>>,
    pub(super) uncertainty: Option<UncertaintyRule>,
    #[serde(deserialize_with = "yes_or_table")]
    pub(super) day: Option<DayRule>,
    pub(super) headers: Option<HeaderRule>,
}

impl SourceKeys {
    /// The numbers that are missing.
    ///
    /// # Errors
    /// [`Error::Setting`] for an empty list.
    #[cfg(all(feature = "gdal", feature = "zarr"))]
    pub(super) fn fills(&self) -> Result<Option<&[f64]>> {
        match self.nodata.as_deref() {
            Some([]) => {
                Err(Error::setting("nodata", "empty; list the stored numbers that are missing, or leave it out"))
            }
            given => Ok(given),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HeaderRule {
    Strict,
    Warn,
}

#[cfg(all(feature = "gdal", feature = "zarr"))]
impl SourceKeys {
    /// The CRS of files that do not give theirs.
    pub(super) fn crs(&self) -> Result<Option<crate::geometry::Crs>> {
        self.crs
            .as_deref()
            .map(crate::source::gdal::crs_from_definition)
            .transpose()
            .map_err(|error| error.under_key("crs"))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dimensions {
    pub(super) time: Option<String>,
    pub(super) band: Option<String>,
    pub(super) y: Option<String>,
    pub(super) x: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reproject {
    Nearest,
    Bilinear,
    Cubic,
    Average,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QualityRule {
    pub(super) files: Option<String>,
    pub(super) asset: Option<String>,
    pub(super) date: Option<String>,
    pub(super) date_format: Option<String>,
    pub(super) band: Option<BandName>,
    pub(super) layer: Option<usize>,
    #[serde(default)]
    pub(super) bits: Vec<u32>,
    #[serde(default)]
    pub(super) fields: Vec<BitField>,
    #[serde(default)]
    pub(super) drop: Vec<f64>,
    pub(super) keep: Option<Vec<f64>>,
    pub(super) valid_range: Option<[f64; 2]>,
    #[serde(default, deserialize_with = "numbers")]
    pub(super) nodata: Option<Vec<f64>>,
    #[serde(default)]
    pub(super) dilate: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BitField {
    pub(super) bits: [u32; 2],
    pub(super) values: Vec<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UncertaintyRule {
    pub(super) files: Option<String>,
    pub(super) bands: Option<Vec<BandName>>,
    pub(super) scale: Option<f64>,
    #[serde(default)]
    pub(super) kind: SpreadKind,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SpreadKind {
    #[default]
    Sd,
    Variance,
}

/// The layer with the day of each pixel; what is not given is the preset's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DayRule {
    pub(super) band: Option<BandName>,
    pub(super) format: Option<DayNumbers>,
    pub(super) days: Option<usize>,
    #[serde(deserialize_with = "numbers")]
    pub(super) nodata: Option<Vec<f64>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DayNumbers {
    Doy,
    Offset,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OffsetBy {
    pub(super) pattern: String,
    pub(super) steps: Vec<(u32, f64)>,
}

/// The name of a band, or its number from 1.
#[derive(Clone, Debug)]
pub(super) struct BandName(String);

impl fmt::Display for BandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(all(feature = "gdal", feature = "zarr"))]
impl From<String> for BandName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl<'de> Deserialize<'de> for BandName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = BandName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a band or its number from 1")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<BandName, E> {
                Ok(BandName(name.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<BandName, E> {
                match u32::try_from(number) {
                    Ok(number) => Ok(BandName(number.to_string())),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(NameVisitor)
    }
}

/// A number, or a list of them.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f64>>, D::Error> {
    struct NumbersVisitor;

    impl<'de> Visitor<'de> for NumbersVisitor {
        type Value = Vec<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number or a list of numbers")
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Vec<f64>, E> {
            Ok(vec![number])
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<f64>, E> {
            Ok(vec![number as f64])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<f64>, A::Error> {
            let mut list = Vec::new();
            while let Some(number) = seq.next_element()? {
                list.push(number);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(NumbersVisitor).map(Some)
}

/// A table, or whether there is one.
fn yes_or_table<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct TableVisitor<T>(PhantomData<T>);

    impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for TableVisitor<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or a table")
        }

        fn visit_bool<E: de::Error>(self, yes: bool) -> Result<Option<T>, E> {
            Ok(yes.then(T::default))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(TableVisitor(PhantomData))
}

/// A table, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Vec<T>>, D::Error> {
    struct ListVisitor<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table or a list of tables")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(one) = seq.next_element()? {
                list.push(one);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(ListVisitor(PhantomData)).map(Some)
}
