//! GDAL's names of rasters inside containers.

use std::path::{Path, PathBuf};

/// GDAL's name of a raster inside a container, such as
/// `HDF4_EOS:EOS_GRID:"folder/file.hdf":MODIS_Grid_2D:sur_refl_b01_1`. The path of the container is in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Subdataset {
    /// The text up to the path, with the opening quote.
    pub(in crate::source) prefix: String,
    /// The file.
    pub(in crate::source) container: PathBuf,
    /// The text that follows the path, with the closing quote.
    pub(in crate::source) suffix: String,
}

impl Subdataset {
    /// The parts of a name; `None` for a plain path.
    pub(in crate::source) fn parse(name: &str) -> Option<Self> {
        let (prefix, rest) = name.split_once(":\"")?;
        let (container, suffix) = rest.rsplit_once("\":")?;
        let driver = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        (!prefix.is_empty() && prefix.chars().all(driver)).then(|| Self {
            prefix: format!("{prefix}:\""),
            container: container.into(),
            suffix: format!("\":{suffix}"),
        })
    }
}

/// The file of a path or of a subdataset's name.
pub(super) fn container(path: &Path) -> PathBuf {
    Subdataset::parse(&path.to_string_lossy()).map_or_else(|| path.to_path_buf(), |name| name.container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subdataset_names_are_distinguished_from_paths() {
        let name = Subdataset::parse("HDF5:\"a b/VNP09GA.h5\"://HDFEOS/GRIDS/x").unwrap();
        assert_eq!(
            (name.prefix.as_str(), name.container.to_str(), name.suffix.as_str()),
            ("HDF5:\"", Some("a b/VNP09GA.h5"), "\"://HDFEOS/GRIDS/x")
        );
        for path in ["a.tif", "C:/a.tif", "odd:\"name.tif", "a b:\"c.tif\":x", ":\"c.tif\":x"] {
            assert_eq!(Subdataset::parse(path), None, "{path}");
        }
    }
}
