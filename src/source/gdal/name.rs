//! GDAL's names of rasters inside containers.

use std::path::PathBuf;

/// GDAL's name of a raster inside a container, such as
/// `HDF4_EOS:EOS_GRID:"folder/file.hdf":MODIS_Grid_2D:sur_refl_b01_1`. The path of the container is in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Subdataset {
    /// The text up to the path, with the opening quote.
    pub(in crate::source) before: String,
    /// The file.
    pub(in crate::source) container: PathBuf,
    /// The text that follows the path, with the closing quote.
    pub(in crate::source) after: String,
}

impl Subdataset {
    /// The parts of a name; `None` for a plain path.
    pub(in crate::source) fn parse(name: &str) -> Option<Self> {
        let (before, rest) = name.split_once(":\"")?;
        let (container, after) = rest.rsplit_once("\":")?;
        let driver = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        (!before.is_empty() && before.chars().all(driver)).then(|| Self {
            before: format!("{before}:\""),
            container: container.into(),
            after: format!("\":{after}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_subdatasets_are_told_from_paths() {
        let name = Subdataset::parse("HDF5:\"a b/VNP09GA.h5\"://HDFEOS/GRIDS/x").unwrap();
        assert_eq!(
            (name.before.as_str(), name.container.to_str(), name.after.as_str()),
            ("HDF5:\"", Some("a b/VNP09GA.h5"), "\"://HDFEOS/GRIDS/x")
        );
        for path in ["a.tif", "C:/a.tif", "odd:\"name.tif", "a b:\"c.tif\":x", ":\"c.tif\":x"] {
            assert_eq!(Subdataset::parse(path), None, "{path}");
        }
    }
}
