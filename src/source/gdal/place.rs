//! Where a raster lies, from its header, and what to do where that is no north-up grid.

use std::path::Path;

use ::gdal::{Dataset, Metadata};

use super::crs::crs_of;
use crate::error::{Error, Result, shown};
use crate::geometry::{Date, Grid};

/// The grid of an open dataset.
pub(super) fn grid_of(path: &Path, dataset: &Dataset, date: Option<Date>) -> Result<Grid> {
    let (cols, rows) = dataset.raster_size();
    let geotransform = dataset.geo_transform().map_err(|_| Error::Open {
        path: path.to_path_buf(),
        date,
        problem: placeless(dataset),
        source: None,
    })?;
    Grid::new(crs_of(dataset), geotransform, (rows, cols)).map_err(|error| match error {
        Error::Grid { problem, .. } => {
            let remedy = remedy(geotransform, &dataset.driver().short_name());
            Error::Grid { what: shown(path), problem: format!("{problem}{remedy}") }
        }
        other => other,
    })
}

/// What is wrong with a raster without a geotransform, by what it has in place of one.
fn placeless(dataset: &Dataset) -> String {
    let points = dataset.gcps().len();
    let has = |domain: &str| dataset.metadata_domain(domain).is_some_and(|entries| !entries.is_empty());
    if points > 0 {
        return format!(
            "it has no geotransform, but {points} ground control points: warp it onto a grid first, as with \
             gdalwarp -tps -t_srs EPSG:32633 IN OUT"
        );
    }
    if has("GEOLOCATION") {
        return "it has no geotransform, but arrays of longitude and latitude, as swaths have: warp it onto a grid first, as with \
                gdalwarp -geoloc -t_srs EPSG:4326 IN OUT"
            .into();
    }
    if has("RPC") {
        return "it has no geotransform, but a camera model (RPC): warp it onto a grid first, as with \
                gdalwarp -rpc -t_srs EPSG:32633 IN OUT, with a terrain model (-to RPC_DEM=...)"
            .into();
    }
    "it has no geotransform: it may be truncated or damaged, or georeference it first (gdal_translate -a_srs -a_ullr; a NetCDF file \
     needs CF attributes of x and y, which rioxarray's write_coordinate_system gives)"
        .into()
}

/// What makes a north-up raster of one with this geotransform.
fn remedy([_, dx, shear_x, _, shear_y, dy]: [f64; 6], driver: &str) -> String {
    let is_multidimensional = ["netCDF", "HDF5", "HDF5Image", "HDF4", "HDF4Image"].contains(&driver);
    if shear_x != 0.0 || shear_y != 0.0 {
        return ", as with gdalwarp IN OUT (-r bilinear for values between pixels)".into();
    }
    if dx < 0.0 && is_multidimensional {
        return "; its dimensions may run (lon, lat) or (x, y), and rows must come first: write them in the order (lat, lon), as with \
                ncpdq -a lat,lon IN OUT, or xarray's transpose(..., \"lat\", \"lon\")"
            .into();
    }
    if dx < 0.0 || dy > 0.0 {
        return "; gdalwarp IN OUT turns it round without changing its values".into();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_has_its_remedy() {
        for (geotransform, driver, says) in [
            ([0.0, 30.0, 1.0, 0.0, 0.0, -30.0], "GTiff", "gdalwarp IN OUT (-r bilinear"),
            ([0.0, 30.0, 0.0, 0.0, 0.0, 30.0], "GTiff", "turns it round"),
            ([0.0, -0.1, 0.0, 0.0, 0.0, 0.1], "netCDF", "ncpdq -a lat,lon"),
            ([0.0, -0.1, 0.0, 0.0, 0.0, 0.1], "GTiff", "turns it round"),
        ] {
            assert!(remedy(geotransform, driver).contains(says), "{geotransform:?}, {driver}");
        }
        assert_eq!(remedy([0.0, f64::NAN, 0.0, 0.0, 0.0, -30.0], "GTiff"), "");
    }
}
