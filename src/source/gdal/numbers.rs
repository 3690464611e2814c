//! What the stored numbers of a band mean beyond its type: signed bytes, missing numbers, the range of NetCDF.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::gdal::raster::{GdalDataType, RasterBand};
use ::gdal::{Dataset, Metadata};

use super::name::container;

/// Bytes of a file in which netCDF says that it follows the classic model.
const HEAD: u64 = 1 << 17;

/// What a header says of the stored numbers of a band.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// Whether GDAL hands signed bytes on as unsigned ones.
    pub(super) signed: bool,
    /// The number that the band's nodata tag declares missing.
    pub(super) nodata: Option<f64>,
    /// Those that the attribute `missing_value` of NetCDF declares missing, one or a vector, also where it was carried on
    /// into another format: GDAL knows `_FillValue` alone where both are there.
    pub(super) fills: Vec<f64>,
    /// Smallest and largest valid number by the attributes `valid_range`, `valid_min` and `valid_max` of NetCDF.
    pub(super) range: Option<(f64, f64)>,
}

impl Numbers {
    pub(super) fn of(band: &RasterBand<'_>, format: Format) -> Self {
        let item = |key: &str, domain: &str| band.metadata_item(key, domain).unwrap_or_default();
        let bytes = band.band_type() == GdalDataType::UInt8;
        let says = item("_Unsigned", "").to_lowercase();
        let unsigned = says == "true";
        let by_type = item("PIXELTYPE", "IMAGE_STRUCTURE") == "SIGNEDBYTE";
        let attributes = ["_FillValue", "missing_value", "valid_min", "valid_max", "valid_range"];
        let negative = || attributes.iter().any(|key| listed(&item(key, "")).iter().any(|number| *number < 0.0));
        let by_rule = match format {
            Format::Other => false,
            Format::Classic => !unsigned,
            Format::NetCdf => says == "false" || (!unsigned && negative()),
        };
        let signed = bytes && (by_type || by_rule);
        let beyond = 2.0_f64.powi(i32::from(band.band_type().bits()));
        // Attributes of unsigned numbers may be written as signed ones.
        let plain = |number: f64| if unsigned && !signed && number < 0.0 { number + beyond } else { number };
        // GDAL turns those of bytes that it takes for unsigned ones.
        let own = |number: f64| if signed && number > 127.0 { number - 256.0 } else { number };
        let nodata = band.no_data_value().filter(|number| !number.is_nan()).map(own);
        let mut fills: Vec<f64> = listed(&item("missing_value", "")).into_iter().map(plain).collect();
        fills.retain(|number| !number.is_nan());
        let range = (format != Format::Other).then(|| range(item)).flatten();
        let round =
            |bound: f64| if band.band_type() == GdalDataType::Float32 { f64::from(bound as f32) } else { bound };
        Self { signed, nodata, fills, range: range.map(|(low, high)| (round(plain(low)), round(plain(high)))) }
    }

    /// The numbers that the band itself declares missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = f64> + '_ {
        self.nodata.into_iter().chain(self.fills.iter().copied())
    }
}

/// The numbers of an attribute of one or several.
fn listed(text: &str) -> Vec<f64> {
    text.trim_matches(['{', '}']).split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// The valid range of NetCDF, in stored numbers.
fn range(item: impl Fn(&str, &str) -> String) -> Option<(f64, f64)> {
    let number = |key: &str| listed(&item(key, "")).first().copied().filter(|number| !number.is_nan());
    match listed(&item("valid_range", ""))[..] {
        [low, high] if !low.is_nan() && !high.is_nan() => Some((low, high)),
        _ => match (number("valid_min"), number("valid_max")) {
            (None, None) => None,
            (low, high) => Some((low.unwrap_or(f64::MIN), high.unwrap_or(f64::MAX))),
        },
    }
}

/// Whether the rules of NetCDF apply to the numbers of a file, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// NetCDF of the classic model, whose bytes are signed. GDAL takes them for unsigned ones.
    Classic,
    /// NetCDF with types for both, of which GDAL knows which it is, unless attributes have negative numbers.
    NetCdf,
    Other,
}

impl Format {
    pub(super) fn of(path: &Path, dataset: &Dataset) -> Self {
        if dataset.driver().short_name() != "netCDF" {
            return Self::Other;
        }
        let of_bytes =
            |index: usize| dataset.rasterband(index).is_ok_and(|band| band.band_type() == GdalDataType::UInt8);
        let bytes = (1..=dataset.raster_count()).any(of_bytes);
        if bytes && is_classic(&container(path)) { Self::Classic } else { Self::NetCdf }
    }
}

/// Whether a NetCDF file follows the classic model: in the format of that time, or in HDF5 with a mark. Of a file on a
/// server it is not known.
fn is_classic(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    let mark: &[u8] = b"_nc3_strict";
    read.is_ok()
        && (head.starts_with(b"CDF\x01")
            || head.starts_with(b"CDF\x02")
            || (head.starts_with(b"\x89HDF") && head.windows(mark.len()).any(|part| part == mark)))
}
