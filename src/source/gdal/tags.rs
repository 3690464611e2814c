//! What the header of a band says of its numbers.

use ::gdal::raster::RasterBand;
use ::gdal::{Dataset, Metadata};

use super::numbers::{Format, Numbers};
use crate::source::cf::is_odd_range as is_odd;

/// Stored type, nodata, scale, offset and unit of a band, as its header has them.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::source) struct BandTags {
    /// The stored type by GDAL's name.
    pub(in crate::source) sample: String,
    pub(in crate::source) nodata: Option<f64>,
    pub(in crate::source) scale: Option<f64>,
    pub(in crate::source) offset: Option<f64>,
    pub(in crate::source) unit: String,
    /// A scale that the header gives and GDAL does not apply, or that cannot be; with what to do.
    pub(in crate::source) unusable_scale: Option<String>,
    /// Whether numbers are positions in a table of colours.
    pub(in crate::source) colours: bool,
    /// The valid range of NetCDF, where it looks like that of other numbers than those that are stored.
    pub(in crate::source) odd_range: Option<(f64, f64)>,
    /// Smallest and largest integer of the type; `None` for floats.
    range: Option<(f64, f64)>,
}

impl BandTags {
    /// `unheard` is a scale that GDAL does not apply, where it knows none of its own.
    pub(super) fn new(band: &RasterBand<'_>, format: Format, unheard: Option<String>) -> Self {
        let numbers = Numbers::of(band, format);
        let sample = if numbers.signed { "Int8".into() } else { band.band_type().name() };
        let range = range_of(&sample);
        let scaled =
            band.scale().is_some_and(|scale| scale != 1.0) || band.offset().is_some_and(|offset| offset != 0.0);
        Self {
            odd_range: numbers.range.filter(|limits| is_odd(*limits, range.is_none(), scaled)),
            sample,
            // NaN is a tag as well, where the type cannot hold it.
            nodata: numbers.nodata.or_else(|| band.no_data_value().filter(|nodata| nodata.is_nan())),
            // Where there are none, numbers are as they are stored.
            scale: band.scale().filter(|scale| *scale != 1.0),
            offset: band.offset().filter(|offset| *offset != 0.0),
            unit: band.unit(),
            colours: band.color_table().is_some_and(|table| table.entry_count() > 0),
            unusable_scale: match band.scale() {
                Some(scale) if scale == 0.0 || !scale.is_finite() => Some(format!("scale {scale}, which no value has")),
                Some(scale) if scale != 1.0 => None,
                _ => unheard,
            },
            range,
        }
    }

    /// What a catalogue says of a band: its type by the names of STAC, and its nodata value. Values are scaled by what
    /// the stack is told.
    pub(super) fn promised(data_type: &str, nodata: Option<f64>) -> Self {
        let sample = match data_type {
            "uint8" => "Byte",
            "int8" => "Int8",
            "uint16" => "UInt16",
            "int16" => "Int16",
            "uint32" => "UInt32",
            "int32" => "Int32",
            "uint64" => "UInt64",
            "int64" => "Int64",
            "float32" => "Float32",
            "float64" => "Float64",
            other => other,
        };
        let (sample, range) = (sample.to_owned(), range_of(sample));
        Self {
            sample,
            nodata,
            scale: None,
            offset: None,
            unit: String::new(),
            colours: false,
            unusable_scale: None,
            odd_range: None,
            range,
        }
    }

    /// The unit in one spelling.
    pub(in crate::source) fn plain_unit(&self) -> String {
        same_unit(&self.unit)
    }

    pub(in crate::source) fn is_float(&self) -> bool {
        self.range.is_none()
    }

    /// Whether some number of the type can be the nodata value.
    pub(in crate::source) fn holds_nodata(&self) -> bool {
        match (self.nodata, self.range) {
            (Some(nodata), Some((low, high))) => nodata.fract() == 0.0 && (low..=high).contains(&nodata),
            (Some(nodata), None) if self.sample == "Float32" => !nodata.is_finite() || (nodata as f32).is_finite(),
            _ => true,
        }
    }

    /// The number that means "missing"; NaN is missing with and without a tag.
    pub(in crate::source) fn missing(&self) -> Option<f64> {
        self.nodata.filter(|nodata| !nodata.is_nan() && self.holds_nodata())
    }
}

/// Smallest and largest integer of a type; by name, because older versions of GDAL lack some of the types.
fn range_of(sample: &str) -> Option<(f64, f64)> {
    match sample {
        "Byte" => Some((0.0, u8::MAX.into())),
        "Int8" => Some((i8::MIN.into(), i8::MAX.into())),
        "UInt16" => Some((0.0, u16::MAX.into())),
        "Int16" => Some((i16::MIN.into(), i16::MAX.into())),
        "UInt32" => Some((0.0, u32::MAX.into())),
        "Int32" => Some((i32::MIN.into(), i32::MAX.into())),
        "UInt64" => Some((0.0, u64::MAX as f64)),
        "Int64" => Some((i64::MIN as f64, i64::MAX as f64)),
        _ => None,
    }
}

/// Scales of an ENVI header that GDAL keeps as text: `reflectance scale factor` divides all bands, `data gain values`
/// multiply each. Versions of GDAL differ in which they apply.
pub(super) struct UnheardScale {
    factor: Option<f64>,
    gains: Vec<f64>,
}

impl UnheardScale {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let item = |key: &str| dataset.metadata_item(key, "ENVI");
        let gains = item("data_gain_values").unwrap_or_default();
        let gains = gains.trim_matches(['{', '}']).split(',').filter_map(|number| number.trim().parse().ok()).collect();
        Self { factor: item("reflectance_scale_factor").and_then(|text| text.trim().parse().ok()), gains }
    }

    /// What the header says of a band, counted from 0.
    pub(super) fn of(&self, band: usize) -> Option<String> {
        let other = |number: &f64| *number != 1.0;
        let factor = self
            .factor
            .filter(other)
            .map(|factor| format!("reflectance scale factor {factor} (scale = {:e})", 1.0 / factor));
        factor.or_else(|| {
            let gain = self.gains.get(band).copied().filter(other)?;
            Some(format!("data gain value {gain} (scale = {gain:e})"))
        })
    }
}

/// One spelling for each unit that files spell in several ways; others as they are. No unit and the unit 1 are the same.
fn same_unit(unit: &str) -> String {
    let spelling = match unit.trim().to_lowercase().replace([' ', '_', '-', '.'], "").as_str() {
        "" | "1" | "unitless" | "none" | "dimensionless" | "nounit" => "",
        "k" | "kelvin" | "kelvins" | "degk" | "degreek" | "degreekelvin" | "degreeskelvin" => "K",
        "c" | "°c" | "celsius" | "degc" | "degreec" | "degreecelsius" | "degreescelsius" => "degC",
        "%" | "percent" | "pct" | "percentage" => "%",
        "m" | "meter" | "meters" | "metre" | "metres" => "m",
        _ => return unit.trim().to_owned(),
    };
    spelling.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_in_any_spelling() {
        for (one, other) in [("K", "Kelvin"), ("1", ""), ("percent", "%"), ("m", "metres"), ("degree_Celsius", "°C")] {
            assert_eq!(same_unit(one), same_unit(other), "{one} and {other}");
        }
        for (one, other) in [("K", "degC"), ("W m-2", "w m-2"), ("%", "1"), ("m", "mm")] {
            assert_ne!(same_unit(one), same_unit(other), "{one} and {other}");
        }
    }
}
