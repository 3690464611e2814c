//! The settings that determine the values of a series: the description, key by key, as a store keeps it.

use serde_json::Value;

use super::RunOptions;
use crate::describe::{Description, Footprint, Indices, Key, OutputDates, PriorField, Structure};
use crate::error::{Error, Result};
use crate::geometry::DateRange;
use crate::model::{Model, ObservationModel};
use crate::series::Settings;

/// Changes when the values of a run with the same description do, or the keys that describe it: a later version of
/// the crate then resumes no series of an earlier one.
const NUMERICS: u32 = 4;

/// Keys that determine no value, or whose value is taken from the model.
const OMITTED: [&str; 22] = [
    "target.like",
    "target.crs",
    "target.geotransform",
    "target.shape",
    "target.bands",
    "time",
    "output.store",
    "output.indices",
    "output.dtype",
    "output.scale",
    "output.add_offset",
    "output.sd_scale",
    "output.round",
    "output.codec",
    "output.codec_level",
    "output.dates_per_object",
    "output.overviews",
    "output.zarr_format",
    "output.tile",
    "instrument.name",
    "instrument.bands",
    "instrument.footprint",
];

/// Inputs that report settings of their own once they are opened: keys of the table that names the input.
const INPUTS: [&str; 2] = ["instrument.source", "seasonal.mean"];

/// The settings of a series by this description. Threads, memory, the last date and the like are not among them.
///
/// # Errors
/// [`Error::Setting`] if the description cannot be serialised.
pub(super) fn settings(
    description: &Description,
    model: &Model,
    options: &RunOptions,
    period: DateRange,
    tile: (usize, usize),
) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.insert("numerics", NUMERICS);
    // Settings that were empty by mistake would let any series be continued.
    let tree = serde_json::to_value(without_paths(description))
        .map_err(|error| Error::setting("settings", format!("cannot be written: {error}")))?;
    flatten(&Key::default(), &tree, &mut settings);
    let grid = &model.target;
    let (rows, cols) = grid.shape();
    settings.insert("target.shape", format!("[{rows}, {cols}]"));
    settings.insert("target.geotransform", format!("{:?}", grid.geotransform()));
    settings.insert("target.crs", grid.crs().code().unwrap_or_else(|| grid.crs().wkt()));
    settings.insert("target.bands", format!("{:?}", model.spectrum.bands()));
    settings.insert("time.start", period.start());
    settings.insert(
        "time.output",
        match description.time.output {
            OutputDates::Daily => "daily",
            OutputDates::Observed => "observed",
            OutputDates::Dates(_) => "a list of dates",
        },
    );
    // As one text, because their order is that of the layers.
    let indices = &description.output.indices;
    if !indices.is_empty() {
        settings.insert(Indices::key().to_string(), indices);
    }
    if let levels @ 1.. = description.output.overview_levels()? {
        settings.insert("output.overviews", levels);
    }
    for (key, value) in description.output.encoding()?.settings() {
        settings.insert(key, value);
    }
    settings.insert("output.tile", format!("[{}, {}]", tile.0, tile.1));
    settings.insert("run.precision", options.precision);
    let names: Vec<&str> = model.instruments.iter().map(|instrument| instrument.name.as_str()).collect();
    settings.insert("instruments", format!("{names:?}"));
    for (described, instrument) in description.instrument.iter().zip(&model.instruments) {
        let key = |name: &str| described.key().name(name).to_string();
        settings.insert(key("bands"), observed(instrument, model));
        settings.insert(key("footprint"), format!("{:?}", described.footprint.unwrap_or(Footprint::Cell)));
    }
    Ok(settings)
}

/// The description without paths of rasters: where they are read from determines no value.
fn without_paths(description: &Description) -> Description {
    let mut description = description.clone();
    if let Some(prior) = description.prior.given_mut() {
        for field in [&mut prior.mean, &mut prior.variance] {
            if let PriorField::Raster(raster) = field {
                raster.forget_path();
            }
        }
    }
    let features = description.process.given_mut().and_then(|process| process.features.as_mut());
    if let Some(raster) = features.and_then(|features| features.raster.as_mut()) {
        raster.forget_path();
    }
    let variation = description.process.given_mut().and_then(|process| process.variation.as_mut());
    if let Some(variation) = variation.and_then(Structure::given_mut) {
        variation.map.forget_path();
    }
    description
}

/// What each band of an instrument's source is used for, whether it was listed or found by its name.
fn observed(instrument: &ObservationModel, model: &Model) -> String {
    let observed = instrument.observed(&model.spectrum);
    let mut observed = observed.iter().map(|(_, target)| target.as_str());
    let held = instrument.source.bands();
    let used = (0..held.len()).map(|band| {
        let used = instrument.source_bands.contains(&band);
        used.then(|| observed.next()).flatten().unwrap_or_default()
    });
    format!("{:?} of {held:?}", used.collect::<Vec<_>>())
}

/// Every value of a tree by its key; instruments go by their names.
fn flatten(at: &Key, tree: &Value, settings: &mut Settings) {
    if OMITTED.contains(&at.path().as_str()) {
        return;
    }
    match tree {
        Value::Null => {}
        Value::Object(table) => {
            for (name, value) in table {
                let key = at.name(name);
                let reported = value.is_object() && INPUTS.contains(&key.path().as_str());
                flatten(if reported { at } else { &key }, value, settings);
            }
        }
        Value::Array(tables) if tables.iter().any(Value::is_object) => {
            for (index, value) in tables.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str).filter(|_| *at == "instrument");
                let inside = name.map_or_else(|| at.position(index), Key::of_instrument);
                flatten(&inside, value, settings);
            }
        }
        Value::Array(list) if list.is_empty() => {}
        value => settings.insert(at.to_string(), text(value)),
    }
}

/// A value as text, numbers as people write them.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, |number| format!("{number:?}"))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
