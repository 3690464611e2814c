//! From STAC items to an instrument's stack of files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::keys::SourceKeys;
use crate::error::{Error, Result, shown};
use crate::geometry::Grid;
use crate::preset::{Preset, PresetBand};
use crate::source::gdal::is_address;
use crate::source::{Granule, Quality, RasterStack, StacGranule, StacItems, StackBuilder};

/// Largest relative difference of scales and offsets that say the same.
const TOLERANCE: f64 = 1e-6;

/// Names of assets that common catalogues give to bands of presets, beside the product's own and the common name.
const ALSO: [(&str, &[&str]); 7] = [
    ("nir", &["nir08"]),
    ("nir_narrow", &["nir08"]),
    ("red_edge1", &["rededge1", "rededge071"]),
    ("red_edge2", &["rededge2", "rededge075"]),
    ("red_edge3", &["rededge3", "rededge078"]),
    ("swir1", &["swir16"]),
    ("swir2", &["swir22"]),
];

/// Names of quality assets, by the beginning of a preset's name.
const QUALITY: [(&str, &[&str]); 3] = [("hls_", &["Fmask"]), ("landsat_", &["qa_pixel"]), ("sentinel2_", &["scl"])];

/// A stack of the granules of STAC items.
pub(super) fn of_items(
    path: &Path,
    keys: &SourceKeys,
    preset: Option<&Preset>,
    bands: &[&PresetBand],
    target: &Grid,
) -> Result<StackBuilder> {
    let failed = |problem: String| Error::setting("stac", format!("{}: {problem}", shown(path)));
    if path.to_str().is_some_and(is_address) {
        return Err(failed("items are read from files of this machine; save those that the search gives".into()));
    }
    let items = StacItems::read(path)?;
    let all = items.len();
    let items =
        items.query(&conditions(keys))?.intersecting(target).headers_of_items(keys.item_headers.unwrap_or(true));
    if items.is_empty() {
        let problem = "none of its items reaches the target and meets `query` and `max_cloud_cover`; there are";
        return Err(failed(format!("{problem} {all}")));
    }
    tracing::info!("{} of {all} items of {} are used", items.len(), path.display());
    let named: Vec<Vec<String>> = match (&keys.source_bands, bands) {
        (_, bands) if !bands.is_empty() => bands.iter().map(|band| names_of(band)).collect(),
        (Some(names), _) => names.iter().map(|name| vec![name.to_string()]).collect(),
        (None, _) => {
            let problem = format!("not given; name assets by key, band or common name: {:?}", items.asset_keys());
            return Err(Error::setting("source_bands", problem));
        }
    };
    let flags = flags(keys, preset)?;
    let granules = items.granules_of(&named, &flags)?;
    let stack = RasterStack::from_granules(calibrated(&granules, keys, preset)?).mosaic(true);
    let mut stack = match preset {
        Some(preset) => preset.configure(stack, bands).no_quality(),
        None => stack.source_bands(named.into_iter().flatten()),
    };
    stack = scaled(stack, &granules, keys, preset)?;
    if let (Some(preset), None) = (preset, &keys.quality) {
        stack = preset.quality.iter().fold(stack, |stack, rule| stack.quality(rule.configure(Quality::listed())));
    }
    Ok(stack)
}

/// The conditions of `query` and `max_cloud_cover`.
fn conditions(keys: &SourceKeys) -> Map<String, Value> {
    let mut conditions = keys.query.clone().unwrap_or_default();
    if let Some(most) = keys.max_cloud_cover {
        match conditions.get_mut("eo:cloud_cover") {
            Some(Value::Object(own)) => {
                own.insert("lte".into(), json!(most));
            }
            _ => {
                conditions.insert("eo:cloud_cover".into(), json!({ "lte": most }));
            }
        }
    }
    conditions
}

/// What an asset of a preset's band may be called.
fn names_of(band: &PresetBand) -> Vec<String> {
    let also = ALSO.iter().find(|(name, _)| *name == band.name).map_or(&[][..], |(_, also)| also);
    [band.id, band.name].into_iter().chain(also.iter().copied()).map(str::to_owned).collect()
}

/// The assets of the quality rules, each with its possible names.
fn flags(keys: &SourceKeys, preset: Option<&Preset>) -> Result<Vec<Vec<String>>> {
    match (&keys.quality, preset) {
        (Some(rules), _) => {
            let named = |rule: &super::keys::QualityRule| match (&rule.asset, &rule.band) {
                (Some(asset), None) => Some(Ok(vec![asset.clone()])),
                (None, Some(_)) => None,
                _ => Some(Err(Error::setting("quality", "give `asset`, the name of the asset that holds the flags"))),
            };
            rules.iter().filter_map(named).collect()
        }
        (None, Some(preset)) if !preset.quality.is_empty() => {
            let known = QUALITY.iter().find(|(start, _)| preset.name.starts_with(start));
            let Some((_, names)) = known else {
                let problem = format!(
                    "not given, and no common catalogue names the quality asset of {}; give quality = {{ asset = ... }} with its rules, or \
                     quality = []",
                    preset.name
                );
                return Err(Error::setting("quality", problem));
            };
            Ok(preset.quality.iter().map(|_| names.iter().map(ToString::to_string).collect()).collect())
        }
        _ => Ok(Vec::new()),
    }
}

/// The granules, with their own offsets where they have them.
fn calibrated(granules: &[StacGranule], keys: &SourceKeys, preset: Option<&Preset>) -> Result<Vec<Granule>> {
    let given = keys.offset.is_some() || keys.offset_by.is_some();
    let fixed = preset.and_then(|preset| preset.offset);
    let scaled = keys.scale.or(preset.and_then(|preset| preset.scale)).is_some();
    let one = |item: &StacGranule| {
        let granule = item.granule.clone();
        let offset = if given { None } else { item.own_offset(scaled)? };
        match (offset, fixed) {
            (Some(own), Some(fixed)) if !alike(own, fixed) => Err(Error::setting(
                "offset",
                format!("item {:?} says {own}, but the preset {fixed}; give `offset`", item.id),
            )),
            (Some(own), None) => Ok(granule.offset(own)),
            _ => Ok(granule),
        }
    };
    granules.iter().map(one).collect()
}

/// The stack with the scale and fill values of the items.
fn scaled(
    mut stack: StackBuilder,
    granules: &[StacGranule],
    keys: &SourceKeys,
    preset: Option<&Preset>,
) -> Result<StackBuilder> {
    let mut scales: BTreeMap<u64, (f64, &str)> = BTreeMap::new();
    let mut fills: Vec<f64> = preset.map(|preset| preset.nodata.to_vec()).unwrap_or_default();
    for (item, [scale, _, nodata]) in
        granules.iter().flat_map(|item| item.calibrations.iter().map(move |own| (item, own)))
    {
        if let Some(scale) = scale {
            scales.entry(scale.to_bits()).or_insert((*scale, &item.id));
        }
        fills.extend(nodata.filter(|nodata| !fills.contains(nodata)));
    }
    if !fills.is_empty() {
        stack = stack.nodata_values(fills);
    }
    if keys.scale.is_some() {
        return Ok(stack);
    }
    let mut scales = scales.into_values();
    let Some((scale, id)) = scales.next() else { return Ok(stack) };
    let known = preset.and_then(|preset| preset.scale);
    let other = scales.next().map(|(other, id)| format!("item {id:?} {other}"));
    let other = other.or(known.filter(|known| !alike(scale, *known)).map(|known| format!("the preset {known}")));
    match other {
        Some(other) => Err(Error::setting("scale", format!("item {id:?} says {scale}, but {other}; give `scale`"))),
        None if known.is_some() => Ok(stack),
        None => Ok(stack.scale(scale)),
    }
}

fn alike(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}
