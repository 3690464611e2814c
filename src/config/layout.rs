//! The tables of an instrument that say where its pixels are, which of them count, and how its offsets wander.

use std::path::PathBuf;

use serde::Deserialize;

use super::values::{BandName, Numbers};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QualityRule {
    pub(super) files: Option<String>,
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
    pub(super) nodata: Option<f64>,
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
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    Sd,
    Variance,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OffsetBy {
    pub(super) pattern: String,
    pub(super) steps: Vec<(u32, f64)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OffsetLayer {
    pub(super) per: Per,
    pub(super) variance: Numbers,
    pub(super) drift: Option<Numbers>,
    pub(super) phi: Option<Numbers>,
    pub(super) group: Option<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Per {
    Pixel,
    Window,
    Acquisition,
    Group,
}

/// A pattern for the files' paths, or a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a regular expression for the files' paths or { table = \"groups.csv\" }")]
pub(super) enum Group {
    Pattern(String),
    Table(GroupTable),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupTable {
    pub(super) table: PathBuf,
}
