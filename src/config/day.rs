//! The key `day`: composites of which each pixel is of a day of its own.

use std::sync::Arc;

use super::Described;
use super::keys::{DayNumbers, DayRule, QualityRule, Reproject, SourceKeys};
use crate::error::{Error, Result};
use crate::preset::Preset;
use crate::source::{DayFormat, DaySource, RasterSource};

/// The pixels of `values` on their days; `open` opens what an instrument's keys describe.
pub(super) fn by_day(
    values: Arc<dyn RasterSource>,
    rule: &DayRule,
    (instrument, keys): Described<'_>,
    preset: Option<&'static Preset>,
    open: impl Fn(&SourceKeys, Option<&Preset>) -> Result<Arc<dyn RasterSource>>,
) -> Result<Arc<dyn RasterSource>> {
    if instrument.composite.is_some() {
        let problem =
            "given together with `day`: a value of one known day is no average over several; leave out one of them";
        return Err(Error::setting("composite", problem));
    }
    if !matches!(keys.reproject, None | Some(Reproject::Nearest)) {
        let problem = "would mix pixels of several days; with `day` give \"nearest\"";
        return Err(Error::setting("reproject", problem));
    }
    let known = preset.and_then(|preset| preset.day);
    let band = rule.band.as_ref().map(ToString::to_string).or(known.map(|day| day.id.to_owned()));
    let Some(band) = band else {
        let problem = match preset {
            Some(preset) => {
                format!("not given, and {} has no layer of days; name the band that holds the day", preset.name)
            }
            None => "not given; name the band that holds the day of each pixel".into(),
        };
        return Err(Error::setting("day.band", problem));
    };
    if values.bands().contains(&band) {
        let problem =
            format!("{band:?} is the layer of days (`day.band`) and would be read as values too; list the other bands");
        return Err(Error::setting(if keys.zarr.is_some() { "variables" } else { "source_bands" }, problem));
    }
    let format = match (rule.format, known) {
        (Some(DayNumbers::Doy), _) => DayFormat::DayOfYear,
        (Some(DayNumbers::Offset), _) => DayFormat::Offset,
        (None, Some(day)) => day.format,
        (None, None) => {
            let problem = "not given; \"doy\" for days of the year, \"offset\" for days since the date of the file";
            return Err(Error::setting("day.format", problem));
        }
    };
    let nodata = rule.nodata.clone().or(known.map(|day| vec![day.nodata]));
    let keys = layer_keys(keys, &band, nodata);
    let layer = open(&keys, preset.map(layer_preset).as_ref()).map_err(|error| {
        error.under_key("day.band").of_input(&format!("instrument {:?}: layer of days", instrument.name))
    })?;
    let days = rule.days.or(known.map(|day| day.days));
    Ok(Arc::new(DaySource::new(values, layer, format, days)?))
}

/// Days of the longest window.
pub(super) fn longest(rule: &DayRule, preset: Option<&Preset>) -> usize {
    rule.days.or(preset.and_then(|preset| preset.day).map(|day| day.days)).unwrap_or(DaySource::USUAL_DAYS)
}

/// Keys of the same files for the one band with the days, as stored. Quality hides the same pixels, so that of several
/// granules the one that gives the value gives the day.
fn layer_keys(keys: &SourceKeys, band: &str, nodata: Option<Vec<f64>>) -> SourceKeys {
    let plain = SourceKeys {
        scale: Some(1.0),
        offset: Some(0.0),
        offset_by: None,
        nodata,
        valid_range: None,
        uncertainty: None,
        day: None,
        ..keys.clone()
    };
    if keys.zarr.is_some() || keys.series.is_some() {
        return SourceKeys { variable: Some(band.to_owned()), variables: None, ..plain };
    }
    let whole = |rule: &&QualityRule| !rule.files.as_deref().is_some_and(is_of_band);
    let quality = keys.quality.as_ref().map(|rules| rules.iter().filter(whole).cloned().collect());
    SourceKeys { source_bands: Some(vec![band.to_owned().into()]), quality, ..plain }
}

/// A preset without what holds for its reflectances alone.
fn layer_preset(preset: &'static Preset) -> Preset {
    let of_bands = preset.quality.iter().any(|rule| is_of_band(rule.files));
    let quality = if of_bands { &[] } else { preset.quality };
    Preset { offset_by: None, valid_range: None, nodata: &[], quality, ..preset.clone() }
}

/// Whether there is a file for each band, and so none for the days.
fn is_of_band(files: &str) -> bool {
    files.contains("{band}")
}
