//! The tables of an instrument that say where its pixels are and which of them count.

use serde::Deserialize;

use super::values::BandName;

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
