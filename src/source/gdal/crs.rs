use ::gdal::Dataset;
use ::gdal::config::{clear_thread_local_config_option, set_thread_local_config_option};
use ::gdal::spatial_ref::SpatialRef;

use super::{QuietErrors, message};
use crate::error::{Error, Result};
use crate::geometry::Crs;

/// The CRS of a definition GDAL understands: `EPSG:32633`, WKT, a PROJ string.
///
/// # Errors
/// [`Error::Setting`] when it does not.
pub fn crs_from_definition(definition: &str) -> Result<Crs> {
    let _quiet = QuietErrors::new();
    let unknown = |error: &::gdal::errors::GdalError| {
        let said = message(error);
        Error::setting("target.crs", format!("{definition:?} is no CRS that GDAL knows ({said})"))
    };
    let reference = SpatialRef::from_definition(definition).map_err(|error| unknown(&error))?;
    describe(&reference).map_err(|error| unknown(&error))
}

/// Whether GDAL takes both for the same CRS.
#[must_use]
pub fn same_crs(a: &Crs, b: &Crs) -> bool {
    let _quiet = QuietErrors::new();
    match (SpatialRef::from_wkt(a.wkt()), SpatialRef::from_wkt(b.wkt())) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// The CRS of an open dataset; unknown when it has none.
pub(super) fn crs_of(dataset: &Dataset) -> Crs {
    let _quiet = QuietErrors::new();
    dataset.spatial_ref().and_then(|reference| describe(&reference)).unwrap_or_default()
}

/// WKT 2 (the only form that holds every CRS) and the authority code.
fn describe(reference: &SpatialRef) -> ::gdal::errors::Result<Crs> {
    set_thread_local_config_option("OSR_WKT_FORMAT", "WKT2_2018")?;
    let wkt = reference.to_wkt();
    clear_thread_local_config_option("OSR_WKT_FORMAT")?;
    let crs = Crs::from_wkt(wkt?);
    Ok(match reference.authority() {
        Ok(code) => crs.with_code(code),
        Err(_) => crs,
    })
}
