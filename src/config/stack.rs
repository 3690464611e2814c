//! From an instrument's tables to its stack of files.

use std::path::{Path, PathBuf};

use super::Described;
use super::keys::{BandName, BitField, HeaderRule, OffsetBy, QualityRule, SourceKeys, SpreadKind, UncertaintyRule};
use super::stac;
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid};
use crate::preset::{Preset, PresetBand};
use crate::source::gdal::is_address;
use crate::source::{Granule, Headers, Quality, RasterStack, Spread, StackBuilder, Uncertainty};

/// The stack that an instrument's keys describe, yet to be opened; with a preset, of these of its bands.
pub(super) fn described_stack(
    (instrument, keys): Described<'_>,
    preset: Option<&Preset>,
    bands: &[&PresetBand],
    folder: &Path,
    target: &Grid,
) -> Result<StackBuilder> {
    let mut stack = listed_or_found((instrument, keys), preset, bands, folder, target)?;
    if let (true, Some(names)) = (bands.is_empty(), &keys.source_bands) {
        stack = stack.source_bands(names.iter().map(ToString::to_string));
    }
    stack = calibrated(stack, keys)?;
    if let Some(drivers) = &keys.drivers {
        stack = stack.drivers(drivers);
    }
    if let Some(crs) = keys.crs()? {
        stack = stack.crs(crs);
    }
    if let Some(mosaic) = keys.mosaic {
        stack = stack.mosaic(mosaic);
    }
    if let Some(resolution) = keys.resolution {
        stack = stack.resolution(resolution);
    }
    if let Some(rules) = &keys.quality {
        stack = stack.no_quality();
        for rule in rules {
            stack = stack.quality(rule.build(keys)?);
        }
    }
    if let Some(rule) = &keys.uncertainty {
        stack = stack.uncertainty(rule.build(keys)?);
    }
    if let (Some(_), Some(_)) = (keys.reproject, keys.resolution) {
        let problem = "reprojection decides the size of pixels; give either `resolution` or `reproject`";
        return Err(Error::setting("resolution", problem));
    }
    if let (None, Some(observed)) = (&keys.source_bands, &instrument.bands) {
        stack = stack.observed(observed);
    }
    if let Some(headers) = keys.headers {
        stack = stack.headers(headers.into());
    }
    stack = stack.covering(target);
    if let Some(reproject) = keys.reproject {
        stack = stack.onto(target, reproject.into());
    }
    Ok(stack)
}

/// The stack of `files`, a `list` or `stac` items, whichever is given.
fn listed_or_found(
    (_, keys): Described<'_>,
    preset: Option<&Preset>,
    bands: &[&PresetBand],
    folder: &Path,
    target: &Grid,
) -> Result<StackBuilder> {
    let listed_by = keys.stac.as_ref().map(|_| "stac").or(keys.list.as_ref().map(|_| "list"));
    if let (Some(key), Some(_)) = (listed_by, &keys.files) {
        return Err(Error::setting(key, "given together with `files`; give one of them"));
    }
    if let (Some(_), Some(_)) = (&keys.stac, &keys.list) {
        return Err(Error::setting("stac", "given together with `list`; give one of them"));
    }
    if let (Some(key), Some(_)) = (listed_by, &keys.date) {
        let dates = if key == "list" { "whose column `date` gives the dates" } else { "whose items give the dates" };
        return Err(Error::setting("date", format!("cannot be combined with `{key}`, {dates}; leave it out")));
    }
    let of_items = keys.query.is_some() || keys.max_cloud_cover.is_some() || keys.item_headers.is_some();
    if of_items && keys.stac.is_none() {
        let problem = "given without `stac`, for whose items it is; leave it out";
        let key = if keys.query.is_some() {
            "query"
        } else if keys.max_cloud_cover.is_some() {
            "max_cloud_cover"
        } else {
            "item_headers"
        };
        return Err(Error::setting(key, problem));
    }
    match (&keys.stac, &keys.list, &keys.files) {
        (Some(items), ..) => stac::of_items(&placed(folder, items), keys, preset, bands, target),
        (None, Some(list), _) => listed(&folder.join(list), keys, preset, bands),
        (None, None, Some(files)) => found(files, keys, preset, bands, folder),
        (None, None, None) => {
            let problem = match preset {
                Some(preset) => format!("not given; name the folder of the {} files", preset.name),
                None => "not given; give `files`, `list`, `stac`, `zarr` or `series`".into(),
            };
            Err(Error::setting("files", problem))
        }
    }
}

/// The preset's bands to read: without `bands`, only those that observe one of the target's.
pub(super) fn preset_bands(
    preset: &'static Preset,
    (instrument, keys): Described<'_>,
    target_bands: Option<&[String]>,
) -> Result<Vec<&'static PresetBand>> {
    match (&keys.source_bands, &instrument.bands) {
        // Its bands are the file's.
        _ if preset.bands.is_empty() => Ok(Vec::new()),
        (Some(names), _) => preset.bands_named(names.iter().map(ToString::to_string)),
        (None, Some(_)) => Ok(preset.bands.iter().collect()),
        (None, None) => {
            let Some(target_bands) = target_bands else { return Ok(preset.bands.iter().collect()) };
            let observing: Vec<&PresetBand> =
                preset.bands.iter().filter(|band| target_bands.iter().any(|target| target == band.name)).collect();
            if observing.is_empty() {
                let names: Vec<&str> = preset.bands.iter().map(|band| band.name).collect();
                return Err(Error::setting(
                    "preset",
                    format!(
                        "no band of {} ({names:?}) has the name of a target band ({target_bands:?}); give `source_bands`, and \
                         `bands` to say which target band each observes",
                        preset.name
                    ),
                ));
            }
            Ok(observing)
        }
    }
}

/// A stack of the files that match, which may be a preset's under a folder.
fn found(
    files: &str,
    keys: &SourceKeys,
    preset: Option<&Preset>,
    bands: &[&PresetBand],
    folder: &Path,
) -> Result<StackBuilder> {
    let is_pattern = files.contains(['*', '?', '[', '{', '"']);
    let date = keys.date.as_deref().or(preset.map(|preset| preset.date));
    let Some(date) = date else {
        return Err(Error::setting(
            "date",
            "not given; a regular expression whose first group is the date, such as \"_(\\\\d{8})\"",
        ));
    };
    let mut stack = match preset {
        Some(preset) if is_pattern => preset.configure(RasterStack::builder(files, date), bands).folder(folder),
        Some(preset) => {
            preset.configure(RasterStack::builder(preset.files, date), bands).folder(resolved(folder, files))
        }
        None => RasterStack::builder(files, date).folder(folder),
    };
    // Without its layout, the preset's quality files are not found.
    if let (Some(preset), true, None) = (preset, is_pattern, &keys.quality)
        && !preset.quality.is_empty()
    {
        return Err(Error::setting(
            "files",
            format!(
                "a pattern in place of the layout of {}; give `quality` with the files that go with it, or quality = []",
                preset.name
            ),
        ));
    }
    if let Some(format) = &keys.date_format {
        stack = stack.date_format(format);
    }
    Ok(stack)
}

fn calibrated(mut stack: StackBuilder, keys: &SourceKeys) -> Result<StackBuilder> {
    if let (Some(_), Some(_)) = (keys.offset, &keys.offset_by) {
        return Err(Error::setting("offset_by", "given together with `offset`; give one of them"));
    }
    if let Some(scale) = keys.scale {
        stack = stack.scale(scale);
    }
    if let Some(offset) = keys.offset {
        stack = stack.offset(offset);
    }
    if let Some(OffsetBy { pattern, steps }) = &keys.offset_by {
        stack = stack.offset_by(pattern, steps.iter().copied());
    }
    if let Some([low, high]) = keys.valid_range {
        stack = stack.valid_range(low, high);
    }
    if let Some(nodata) = keys.fills()? {
        stack = stack.nodata_values(nodata.iter().copied());
    }
    Ok(stack)
}

impl From<HeaderRule> for Headers {
    fn from(rule: HeaderRule) -> Self {
        match rule {
            HeaderRule::Strict => Self::Strict,
            HeaderRule::Warn => Self::Warn,
        }
    }
}

impl QualityRule {
    fn build(&self, keys: &SourceKeys) -> Result<Quality> {
        if let (Some(_), None) = (&self.asset, &keys.stac) {
            return Err(Error::setting("quality", "`asset` is for `stac` items; give `files`"));
        }
        let mut quality = match (&self.files, &self.band) {
            (Some(files), None) => Quality::files(files),
            (None, Some(band)) => Quality::band(band),
            (None, None) if keys.list.is_some() || (keys.stac.is_some() && self.asset.is_some()) => Quality::listed(),
            (None, None) => {
                return Err(Error::setting("quality", "give `files`, or `band` for a band of the data file"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::setting("quality", "`files` and `band` are given; give one of them"));
            }
        };
        if let Some(date) = &self.date {
            let format = self.date_format.as_deref().or(keys.date_format.as_deref()).unwrap_or("%Y%m%d");
            quality = quality.date(date, format);
        }
        quality =
            quality.layer(self.layer.unwrap_or(1)).bits(self.bits.iter().copied()).drop(self.drop.iter().copied());
        for BitField { bits: [first, last], values } in &self.fields {
            quality = quality.field(*first..=*last, values.iter().copied());
        }
        if let Some(keep) = &self.keep {
            quality = quality.keep(keep.iter().copied());
        }
        if let Some([low, high]) = self.valid_range {
            quality = quality.valid_range(low, high);
        }
        quality = match self.nodata.as_deref() {
            // An empty list leaves none, not even the file's own.
            Some([]) => quality.ignore_nodata(),
            given => given.into_iter().flatten().fold(quality, |quality, nodata| quality.nodata(*nodata)),
        };
        Ok(quality.dilate(self.dilate))
    }
}

impl UncertaintyRule {
    fn build(&self, keys: &SourceKeys) -> Result<Uncertainty> {
        let mut uncertainty = match (&self.files, &self.bands) {
            (Some(files), None) => Uncertainty::files(files),
            (None, Some(bands)) => Uncertainty::bands(bands),
            (None, None) if keys.list.is_some() => Uncertainty::listed(),
            _ => {
                let problem = "give either `files`, or `bands` for bands of the data file";
                return Err(Error::setting("uncertainty", problem));
            }
        };
        if let Some(scale) = self.scale {
            uncertainty = uncertainty.scale(scale);
        }
        Ok(uncertainty.kind(match self.kind {
            SpreadKind::Sd => Spread::Sd,
            SpreadKind::Variance => Spread::Variance,
        }))
    }
}

/// A stack of the granules in a CSV file: a column `date`, one column `file` or one for each source band, and columns
/// that start with `quality` or `uncertainty`.
fn listed(path: &Path, keys: &SourceKeys, preset: Option<&Preset>, bands: &[&PresetBand]) -> Result<StackBuilder> {
    let failed = |problem: String| Error::setting("list", format!("{}: {problem}", path.display()));
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|error| failed(error.to_string()))?;
    let header = reader.headers().map_err(|error| failed(error.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|held| held == name);
    let starting =
        |start: &str| -> Vec<usize> { (0..header.len()).filter(|&k| header[k].starts_with(start)).collect() };
    let date_column = column("date").ok_or_else(|| failed("no column `date`".into()))?;
    let (quality, uncertainty) = (starting("quality"), starting("uncertainty"));
    let data: Vec<usize> =
        (0..header.len()).filter(|k| *k != date_column && !quality.contains(k) && !uncertainty.contains(k)).collect();
    let one_file = data.len() == 1 && &header[data[0]] == "file";
    let wanted: Vec<usize> = match (&keys.source_bands, bands) {
        _ if one_file => data.clone(),
        (_, bands) if !bands.is_empty() => {
            let find = |band: &&PresetBand| {
                let found = column(band.id).or(column(band.name));
                found.ok_or_else(|| failed(format!("no column {:?} or {:?}", band.id, band.name)))
            };
            bands.iter().map(find).collect::<Result<_>>()?
        }
        (Some(names), _) => {
            let find = |name: &BandName| {
                column(&name.to_string())
                    .ok_or_else(|| failed(format!("no column {:?} of `source_bands`", name.to_string())))
            };
            names.iter().map(find).collect::<Result<_>>()?
        }
        (None, _) => data.clone(),
    };
    if wanted.is_empty() {
        return Err(failed("no column of files; name it `file`, or give one for each source band".into()));
    }
    let base = path.parent().unwrap_or(Path::new(""));
    let mut granules = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let line = row + 2;
        let record = record.map_err(|error| failed(error.to_string()))?;
        let format = keys.date_format.as_deref().unwrap_or("%Y-%m-%d");
        let date = Date::parse(&record[date_column], format)
            .map_err(|error| failed(format!("line {line}: {error}; fix it or `date_format`")))?;
        let file = |k: &usize| match &record[*k] {
            "" => Err(failed(format!(
                "line {line} ({date}): {:?} is missing; name the file, or remove the line",
                &header[*k]
            ))),
            name => Ok(resolved(base, name)),
        };
        let files = |columns: &[usize]| columns.iter().map(file).collect::<Result<Vec<PathBuf>>>();
        let mut granule = Granule::new(date, files(&wanted)?).uncertainty(files(&uncertainty)?);
        for column in &quality {
            granule = granule.quality(files(&[*column])?);
        }
        granules.push(granule);
    }
    if granules.is_empty() {
        return Err(failed("lists no files".into()));
    }
    let mut stack = RasterStack::from_granules(granules).mosaic(true);
    if let Some(preset) = preset {
        stack = preset.configure(stack, bands).no_quality();
        if quality.is_empty() && !preset.quality.is_empty() && keys.quality.is_none() {
            return Err(failed(format!(
                "no column `quality` for that of {}, which hides clouds; add it, or say quality = []",
                preset.name
            )));
        }
        if !quality.is_empty() {
            stack = preset.quality.iter().fold(stack, |stack, rule| stack.quality(rule.configure(Quality::listed())));
        }
    } else if !one_file {
        stack = stack.source_bands(wanted.iter().map(|&k| &header[k]));
    }
    Ok(stack)
}

/// A path against the description's folder; addresses stay as they are.
pub(super) fn placed(folder: &Path, path: &Path) -> PathBuf {
    if path.to_str().is_some_and(is_address) { path.to_path_buf() } else { folder.join(path) }
}

/// A file's path against a folder; addresses and names of subdatasets stay as they are.
fn resolved(base: &Path, name: &str) -> PathBuf {
    if name.contains(":\"") || is_address(name) { name.into() } else { base.join(name) }
}

/// Reads an untrusted list of files.
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) fn fuzz_list(path: &Path) {
    let keys = SourceKeys { list: Some("list.csv".into()), ..SourceKeys::default() };
    for preset in [None, Preset::find("hls_s30").ok()] {
        let bands: Vec<&PresetBand> = preset.iter().flat_map(|preset| preset.bands).collect();
        let _ = listed(path, &keys, preset, &bands);
    }
}
