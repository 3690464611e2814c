//! CF conventions (climate and forecast): times and packed numbers.

#[cfg(feature = "zarr")]
mod packing;
mod range;
mod time;

#[cfg(feature = "zarr")]
pub(super) use packing::Packing;
pub(super) use range::is_odd_range;
pub(super) use time::{Acquisitions, dates};

/// Reads attributes of anybody's making.
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) fn fuzz(attributes: &serde_json::Map<String, serde_json::Value>) {
    let values = [0.0, -1.0, 1e300, f64::NAN, 18_329.5];
    if let Ok(packing) = Packing::new(attributes) {
        packing.rounded_to_f32().hide(Some(16), &mut values.clone());
    }
    let text = |key: &str| attributes.get(key).and_then(serde_json::Value::as_str);
    if let Ok(dates) = dates(&values[..2], text("units").unwrap_or_default(), text("calendar")) {
        let _ = Acquisitions::new(&dates);
    }
}
