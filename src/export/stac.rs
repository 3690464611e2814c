//! A STAC item that describes an exported file: version 1.1.0, with the extensions projection and raster 2.0.0.
//!
//! <https://github.com/radiantearth/stac-spec/blob/v1.1.0/item-spec/item-spec.md>

use serde_json::{Map, Value, json};

use super::cog::Image;
use super::place::{Outline, outline};
use super::statistics::BandStatistics;
use crate::error::Result;
use crate::geometry::Date;

/// Schemas of the extensions.
const EXTENSIONS: [&str; 2] = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
];

/// The item of the file `name.tif` in the same folder.
///
/// # Errors
/// [`Error::Grid`](crate::Error::Grid) when the grid's outline has no longitude and latitude.
pub(super) fn item(name: &str, date: Date, image: &Image<'_>, bands: &[BandStatistics]) -> Result<Value> {
    let grid = image.grid;
    let (width, height) = grid.cell_size();
    let mut properties = projection(image);
    properties.insert("datetime".into(), format!("{date}T00:00:00Z").into());
    let mut asset = json!({
        "href": format!("./{name}.tif"),
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "title": format!("fused values and their standard deviations on {date}"),
        "roles": ["data"],
        "bands": bands.iter().map(|band| described(band, image.unit)).collect::<Vec<_>>()
    });
    // The extension has one number, in metres.
    let projected = !grid.crs().is_unknown() && !grid.crs().is_geographic();
    if projected && (width - height).abs() <= 1e-9 * width {
        asset["raster:spatial_resolution"] = width.into();
    }
    let mut item = json!({
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": name,
        "geometry": null,
        "properties": properties,
        "links": [],
        "assets": { "data": asset }
    });
    if let Some(Outline { ring, bbox }) = outline(grid)? {
        item["geometry"] = json!({ "type": "Polygon", "coordinates": [ring] });
        item["bbox"] = json!(bbox);
    }
    Ok(item)
}

/// Members of the extension `projection`.
fn projection(image: &Image<'_>) -> Map<String, Value> {
    let grid = image.grid;
    let extent = grid.extent();
    let [left, width, skew_x, top, skew_y, height] = grid.geotransform();
    let (rows, cols) = grid.shape();
    let mut members = Map::new();
    // Null says that there is a CRS without a code, or none.
    members.insert("proj:code".into(), grid.crs().code().into());
    if grid.crs().code().is_none() && !grid.crs().is_unknown() {
        members.insert("proj:wkt2".into(), grid.crs().wkt().into());
    }
    members.insert("proj:shape".into(), json!([rows, cols]));
    members.insert("proj:transform".into(), json!([width, skew_x, left, skew_y, height, top, 0.0, 0.0, 1.0]));
    members.insert("proj:bbox".into(), json!([extent.left, extent.bottom, extent.right, extent.top]));
    members
}

/// A band of the asset.
fn described(band: &BandStatistics, unit: &str) -> Value {
    let mut described = json!({ "name": band.name, "data_type": "float32", "nodata": "nan", "unit": unit });
    let percent = 100.0 * band.valid as f64 / band.cells.max(1) as f64;
    described["statistics"] = if band.valid == 0 {
        json!({ "valid_percent": percent })
    } else {
        json!({
            "minimum": band.minimum, "maximum": band.maximum, "mean": band.mean, "stddev": band.spread(),
            "count": band.valid, "valid_percent": percent
        })
    };
    described
}
