//! Why a band could not be read, and what to do about it.

use std::path::Path;

use ::gdal::errors::GdalError;

use super::server::{answered, plain};
use super::{is_remote, message};
use crate::error::BoxedError;

/// What netCDF says of signed bytes that are to be read as unsigned ones.
const UNSIGNED: &str = "Numeric conversion not representable";

/// A band that could not be read, by position, and the reason.
pub(in crate::source) struct ReadFailure {
    pub(in crate::source) band: usize,
    pub(super) error: ReadError,
    /// What HDF5 said.
    pub(super) said: Option<String>,
}

/// Why a band cannot be read.
pub(super) enum ReadError {
    Gdal(GdalError),
    /// It holds a number that can be no value.
    Strange {
        stored: f64,
        float: bool,
    },
}

impl From<GdalError> for ReadError {
    fn from(error: GdalError) -> Self {
        Self::Gdal(error)
    }
}

impl ReadFailure {
    /// What is wrong with a file, and what to do: `remedy` where it is damaged.
    pub(in crate::source) fn problem(&self, path: &Path, remedy: &str) -> String {
        match &self.error {
            ReadError::Gdal(error) if is_remote(path) => answered(path, &message(error)).unwrap_or_else(|| {
                let said = plain(&message(error));
                format!("{said}; its bytes broke off on the way, or the file is truncated or damaged: {remedy}")
            }),
            ReadError::Gdal(error) => {
                let mut said = message(error);
                if said.contains(UNSIGNED) {
                    return format!(
                        "{said}; its bytes have the attribute _Unsigned, and GDAL does not read those above 127 from NetCDF-4: write them \
                         as unsigned bytes, as with ds.to_netcdf(..., encoding={{NAME: {{\"dtype\": \"u1\"}}}}) in xarray"
                    );
                }
                if let Some(cause) = &self.said {
                    said = format!("{said} ({cause})");
                }
                format!("{said}; the file may be truncated or damaged: {remedy}")
            }
            ReadError::Strange { stored, float: true } => format!(
                "it holds {stored:e}, which looks like a fill value that no tag declares; give nodata = {stored:e}, or `valid_range`"
            ),
            ReadError::Strange { stored, float: false } => format!(
                "it holds the 64-bit integer {stored}, which float64 does not hold to the last digit; give it as `nodata` if it is a \
                 fill value, else convert the file"
            ),
        }
    }

    /// The library's error.
    pub(in crate::source) fn into_source(self) -> Option<BoxedError> {
        match self.error {
            ReadError::Gdal(error) => Some(Box::new(error)),
            ReadError::Strange { .. } => None,
        }
    }
}
