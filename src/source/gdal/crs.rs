//! Coordinate reference systems through GDAL: parsing, comparison and normal form.

use ::gdal::Dataset;
use ::gdal::config::{clear_thread_local_config_option, set_thread_local_config_option};
use ::gdal::spatial_ref::SpatialRef;

use super::{QuietErrors, message};
use crate::error::{Error, Result};
use crate::geometry::Crs;

/// The CRS of a definition that GDAL understands: `EPSG:32633`, WKT, a PROJ string.
///
/// # Errors
/// [`Error::Setting`] when GDAL does not understand the definition.
pub fn crs_from_definition(definition: &str) -> Result<Crs> {
    let _quiet = QuietErrors::new();
    let unknown = |error: &::gdal::errors::GdalError| {
        let said = message(error);
        Error::setting("target.crs", format!("{definition:?} is not a CRS that GDAL knows ({said})"))
    };
    let reference = SpatialRef::from_definition(definition).map_err(|error| unknown(&error))?;
    describe(&reference).map_err(|error| unknown(&error))
}

impl Crs {
    /// The CRS of a number of the EPSG registry, such as 32633.
    ///
    /// # Errors
    /// [`Error::Setting`] when GDAL knows none of this number.
    pub fn from_epsg(code: u32) -> Result<Self> {
        crs_from_definition(&format!("EPSG:{code}")).map_err(|error| error.under_key("crs"))
    }
}

/// Whether GDAL considers both the same CRS.
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

/// WKT 2 (the only form that can express every CRS) and the authority code.
///
/// Files spell the same CRS in different ways, and GDAL's spelling depends on its input. The definition in the
/// registry is always the same, so it is used where the code is known and equivalent.
fn describe(reference: &SpatialRef) -> ::gdal::errors::Result<Crs> {
    // A file may give any text as its authority, of which GDAL would fetch an address and read a file.
    let plain = |code: &String| code.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-'));
    let Some(code) = reference.authority().ok().filter(plain) else { return Ok(Crs::from_wkt(wkt2(reference)?)) };
    let registered = SpatialRef::from_definition(&code).ok().filter(|registered| registered == reference);
    Ok(Crs::from_wkt(wkt2(registered.as_ref().unwrap_or(reference))?).with_code(code))
}

fn wkt2(reference: &SpatialRef) -> ::gdal::errors::Result<String> {
    set_thread_local_config_option("OSR_WKT_FORMAT", "WKT2_2018")?;
    let wkt = reference.to_wkt();
    clear_thread_local_config_option("OSR_WKT_FORMAT")?;
    wkt
}
