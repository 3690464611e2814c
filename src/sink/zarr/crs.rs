//! Metadata of grids: CF grid mapping, coordinates, and GeoZarr members.

use serde_json::{Map, Value, json};

use crate::geometry::{Crs, Grid};

/// CF `grid_mapping_name` by the projection method's name in WKT (CF conventions, appendix F).
const METHODS: [(&str, &str); 13] = [
    ("Transverse Mercator", "transverse_mercator"),
    ("Sinusoidal", "sinusoidal"),
    ("Lambert Azimuthal Equal Area", "lambert_azimuthal_equal_area"),
    ("Albers Equal Area", "albers_conical_equal_area"),
    ("Lambert Conic Conformal (1SP)", "lambert_conformal_conic"),
    ("Lambert Conic Conformal (2SP)", "lambert_conformal_conic"),
    ("Lambert Cylindrical Equal Area", "lambert_cylindrical_equal_area"),
    ("Popular Visualisation Pseudo Mercator", "mercator"),
    ("Mercator (variant A)", "mercator"),
    ("Mercator (variant B)", "mercator"),
    ("Polar Stereographic (variant A)", "polar_stereographic"),
    ("Polar Stereographic (variant B)", "polar_stereographic"),
    ("Orthographic", "orthographic"),
];

fn is_geographic(crs: &Crs) -> bool {
    ["GEOGCRS", "GEODCRS", "GEOGCS"].iter().any(|prefix| crs.wkt().starts_with(prefix))
}

/// Attributes of the `spatial_ref` variable that CF, rioxarray and GDAL read.
pub(super) fn grid_mapping(grid: &Grid) -> Map<String, Value> {
    let crs = grid.crs();
    let transform: Vec<String> = grid.geotransform().iter().map(ToString::to_string).collect();
    let mut attributes = Map::new();
    attributes.insert("GeoTransform".into(), transform.join(" ").into());
    if crs.is_unknown() {
        return attributes;
    }
    for key in ["crs_wkt", "spatial_ref"] {
        attributes.insert(key.into(), crs.wkt().into());
    }
    let method = || {
        METHODS.iter().find(|(method, _)| crs.wkt().contains(&format!("METHOD[\"{method}\""))).map(|(_, name)| *name)
    };
    let name = if is_geographic(crs) { Some("latitude_longitude") } else { method() };
    // CF has no names for other methods; crs_wkt is complete.
    if let Some(name) = name {
        attributes.insert("grid_mapping_name".into(), name.into());
    }
    attributes
}

/// Attributes of the `x` (or `y`) coordinate.
pub(super) fn coordinate(crs: &Crs, x: bool) -> Map<String, Value> {
    let (axis, projected, geographic, degrees) = if x {
        ("X", "projection_x_coordinate", "longitude", "degrees_east")
    } else {
        ("Y", "projection_y_coordinate", "latitude", "degrees_north")
    };
    let mut attributes = Map::new();
    attributes.insert("axis".into(), axis.into());
    attributes.insert("long_name".into(), format!("{} of the cell centre", axis.to_lowercase()).into());
    if is_geographic(crs) {
        attributes.insert("standard_name".into(), geographic.into());
        attributes.insert("units".into(), degrees.into());
    } else if !crs.is_unknown() {
        attributes.insert("standard_name".into(), projected.into());
        if let Some(unit) = length_unit(crs) {
            attributes.insert("units".into(), unit.into());
        }
    }
    attributes
}

/// Unit of the axes: the last length unit of the WKT; `None` when it has none in the syntax of WKT 2.
fn length_unit(crs: &Crs) -> Option<&str> {
    let (_, rest) = crs.wkt().rsplit_once("LENGTHUNIT[\"")?;
    match rest.split('"').next()? {
        "metre" => Some("m"),
        other => Some(other),
    }
}

/// GeoZarr `proj:` and `spatial:` members, for the group and the arrays on the grid.
pub(super) fn geozarr(grid: &Grid) -> Map<String, Value> {
    let crs = grid.crs();
    let [left, width, _, top, _, step] = grid.geotransform();
    let extent = grid.extent();
    let mut conventions = Vec::new();
    let mut members = Map::new();
    if !crs.is_unknown() {
        conventions.push(json!({
            "schema_url": "https://raw.githubusercontent.com/zarr-conventions/proj/refs/tags/v0.1/schema.json",
            "spec_url": "https://github.com/zarr-conventions/proj/blob/v0.1/README.md",
            "uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f",
            "name": "proj",
            "description": "Coordinate reference system information for geospatial data"
        }));
        match crs.code() {
            Some(code) => members.insert("proj:code".into(), code.into()),
            None => members.insert("proj:wkt2".into(), crs.wkt().into()),
        };
    }
    conventions.push(json!({
        "schema_url": "https://raw.githubusercontent.com/zarr-conventions/spatial/refs/tags/v0.1/schema.json",
        "spec_url": "https://github.com/zarr-conventions/spatial/blob/v0.1/README.md",
        "uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
        "name": "spatial",
        "description": "Spatial coordinate information"
    }));
    members.insert("zarr_conventions".into(), conventions.into());
    members.insert("spatial:dimensions".into(), json!(["y", "x"]));
    members.insert("spatial:transform".into(), json!([width, 0.0, left, 0.0, step, top]));
    members.insert("spatial:bbox".into(), json!([extent.left, extent.bottom, extent.right, extent.top]));
    members.insert("spatial:shape".into(), json!([grid.rows(), grid.cols()]));
    members
}
