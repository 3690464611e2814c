//! Georeferencing of a cube: its grid from coordinates or a geotransform, its CRS from the grid mapping.

use serde_json::{Map, Value};

use crate::geometry::{Crs, Grid};

/// Largest distance of a coordinate from even spacing, in pixels. Coordinates in float32 have about seven digits.
const SPACING_TOLERANCE: f64 = 0.01;

/// An axis of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PixelAxis {
    /// Lower edge of the axis.
    pub(super) low: f64,
    /// Size of a pixel.
    pub(super) size: f64,
    pub(super) count: usize,
    /// Whether coordinates increase along the axis.
    pub(super) ascending: bool,
}

impl PixelAxis {
    /// An axis from the coordinates of pixel centres. `size` is the pixel size from other metadata, for an axis of
    /// one pixel.
    ///
    /// # Errors
    /// Coordinates that are not evenly spaced.
    pub(super) fn new(centres: &[f64], size: Option<f64>) -> Result<Self, String> {
        let (Some(&first), Some(&last)) = (centres.first(), centres.last()) else { return Err("holds nothing".into()) };
        let count = centres.len();
        if count == 1 {
            let size = size.map(f64::abs).filter(|size| *size > 0.0);
            let size =
                size.ok_or("holds one coordinate, which does not give the size of a pixel: add a GeoTransform")?;
            return Ok(Self { low: first - size / 2.0, size, count, ascending: false });
        }
        let step = (last - first) / (count - 1) as f64;
        let uneven = centres.iter().enumerate().find(|(index, centre)| {
            let off = (**centre - (first + *index as f64 * step)).abs();
            off.is_nan() || off > SPACING_TOLERANCE * step.abs()
        });
        if let Some((index, centre)) = uneven.or((step == 0.0).then_some((0, &first))) {
            return Err(format!(
                "is not evenly spaced: {centre} at {index}, where steps of {step} lead to {}; only regular grids are read",
                first + index as f64 * step
            ));
        }
        let size = step.abs();
        Ok(Self { low: first.min(last) - size / 2.0, size, count, ascending: step > 0.0 })
    }

    /// The axis in another unit.
    pub(super) fn times(self, factor: f64) -> Self {
        Self { low: factor * self.low, size: factor * self.size, ..self }
    }

    fn high(&self) -> f64 {
        self.low + self.size * self.count as f64
    }
}

/// What coordinates in `units` are multiplied by, so that they are in the unit of the CRS: 1000 for kilometres where
/// that is the metre.
pub(super) fn to_unit_of(crs: &Crs, units: &str) -> f64 {
    let kilometres =
        ["km", "kilometer", "kilometers", "kilometre", "kilometres"].contains(&units.trim().to_lowercase().as_str());
    let wkt = crs.wkt().to_lowercase();
    let metres = ["\"metre\",1", "\"meter\",1", "\"metre\", 1", "\"meter\", 1"].iter().any(|unit| wkt.contains(unit));
    let own = wkt.contains("\"kilomet") || crs.is_geographic();
    if kilometres && metres && !own { 1000.0 } else { 1.0 }
}

/// A north-up grid from its axes.
pub(super) fn grid(crs: Crs, y: &PixelAxis, x: &PixelAxis) -> crate::error::Result<Grid> {
    Grid::new(crs, [x.low, x.size, 0.0, y.high(), 0.0, -y.size], (y.count, x.count))
}

/// The geotransform of a grid mapping, as GDAL and rioxarray write it.
pub(super) fn geotransform(mapping: &Map<String, Value>) -> Option<[f64; 6]> {
    let text = mapping.get("GeoTransform")?.as_str()?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// Whether stackstac wrote the coordinates of upper-left corners, as it does unless it is told otherwise: it says where the
/// first column begins, `| 30.00, 0.00, 500000.00|`.
pub(super) fn holds_corners(attributes: &Map<String, Value>, x: &PixelAxis) -> bool {
    let text = |key: &str| attributes.get(key).and_then(Value::as_str);
    if !text("spec").is_some_and(|spec| spec.starts_with("RasterSpec(")) {
        return false;
    }
    let first = text("transform").and_then(|rows| rows.trim_start_matches('|').split('|').next());
    let Some(left) = first.and_then(|row| row.split(',').nth(2)?.trim().parse::<f64>().ok()) else { return false };
    // Whole pixels from the edge: a cube may have been cut.
    let pixels = (x.low + x.size / 2.0 - left) / x.size;
    (pixels - pixels.round()).abs() < SPACING_TOLERANCE
}

impl PixelAxis {
    /// The axis whose coordinates were taken for centres and are edges, the lower ones or the upper ones.
    pub(super) fn moved_from_edges(self, lower: bool) -> Self {
        let half = self.size / 2.0;
        Self { low: if lower { self.low + half } else { self.low - half }, ..self }
    }
}

/// An axis from a geotransform alone: origin, step and number of pixels.
pub(super) fn line(origin: f64, step: f64, count: usize) -> PixelAxis {
    let size = step.abs();
    let low = if step < 0.0 { origin - size * count as f64 } else { origin };
    PixelAxis { low, size, count, ascending: step > 0.0 }
}

/// The CRS of a grid mapping, a variable or a group; unknown when none gives one.
pub(super) fn crs<'a>(attributes: impl IntoIterator<Item = &'a Map<String, Value>>) -> Crs {
    for attributes in attributes {
        let text = |key: &str| attributes.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let nested = || attributes.get("_CRS").and_then(|crs| crs.get("wkt")).and_then(Value::as_str);
        if let Some(wkt) = text("crs_wkt").or_else(|| text("spatial_ref")).or_else(|| text("proj:wkt2")).or_else(nested)
        {
            return crs_from_wkt(wkt);
        }
        let epsg = || text("crs").filter(|crs| crs.to_lowercase().starts_with("epsg:"));
        if let Some(code) = text("proj:code").or_else(|| text("epsg_code")).or_else(epsg) {
            return crs_from_code(code);
        }
    }
    Crs::unknown()
}

/// GDAL normalises the spelling, so that it matches that of other inputs.
#[cfg(feature = "gdal")]
fn crs_from_wkt(wkt: &str) -> Crs {
    // What else GDAL takes for a definition are addresses and files: a store must not make it open them.
    let named = |c: char| c.is_ascii_alphanumeric() || " +=,:_.-".contains(c);
    if !wkt.split('[').next().is_some_and(|start| start.trim_start().chars().all(named)) {
        return plain(wkt);
    }
    super::super::gdal::crs_from_definition(wkt).unwrap_or_else(|_| plain(wkt))
}

#[cfg(not(feature = "gdal"))]
fn crs_from_wkt(wkt: &str) -> Crs {
    plain(wkt)
}

#[cfg(feature = "gdal")]
pub(super) fn crs_from_code(code: &str) -> Crs {
    if code.contains(['/', '\\']) {
        return Crs::unknown().with_code(code);
    }
    super::super::gdal::crs_from_definition(code).unwrap_or_else(|_| Crs::unknown().with_code(code))
}

#[cfg(not(feature = "gdal"))]
pub(super) fn crs_from_code(code: &str) -> Crs {
    Crs::unknown().with_code(code)
}

fn plain(wkt: &str) -> Crs {
    let crs = Crs::from_wkt(wkt);
    match authority_code(wkt) {
        Some(code) => crs.with_code(code),
        None => crs,
    }
}

/// The authority code at the end of a WKT: `..., ID["EPSG",32633]]` or `..., AUTHORITY["EPSG","32633"]]`.
fn authority_code(wkt: &str) -> Option<String> {
    let inside = wkt.trim_end().strip_suffix(']')?.trim_end().strip_suffix(']')?;
    let (start, key) = ["ID[", "AUTHORITY["].iter().filter_map(|key| Some((inside.rfind(key)?, *key))).max()?;
    let mut parts = inside[start + key.len()..].split(',').map(|part| part.trim().trim_matches('"'));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(authority), Some(code), None) if !code.contains(['[', ']']) => Some(format!("{authority}:{code}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_run_from_edge_to_edge_whichever_way_they_go() {
        let down = PixelAxis::new(&[45.0, 35.0, 25.0], None).unwrap();
        let up = PixelAxis::new(&[25.0, 35.0, 45.0], None).unwrap();
        assert_eq!((down.low, down.high(), down.size, down.ascending), (20.0, 50.0, 10.0, false));
        assert_eq!(up, PixelAxis { ascending: true, ..down });
        let one = PixelAxis::new(&[25.0], Some(-10.0)).unwrap();
        assert_eq!((one.low, one.high()), (20.0, 30.0));
        assert!(PixelAxis::new(&[25.0], None).unwrap_err().contains("GeoTransform"));
        assert_eq!(line(50.0, -10.0, 3), down);
        assert_eq!(line(20.0, 10.0, 3), up);
    }

    #[test]
    fn corners_are_told_from_centres_by_where_the_first_column_begins() {
        let attributes = |transform: &str| {
            let spec = serde_json::json!({ "spec": "RasterSpec(epsg=32633)", "transform": transform });
            spec.as_object().cloned().unwrap_or_default()
        };
        let (corners, centres) =
            (PixelAxis::new(&[60.0, 90.0], None).unwrap(), PixelAxis::new(&[75.0, 105.0], None).unwrap());
        let rows = "| 30.00, 0.00, 0.00|\n| 0.00,-30.00, 90.00|\n| 0.00, 0.00, 1.00|";
        assert!(holds_corners(&attributes(rows), &corners) && !holds_corners(&attributes(rows), &centres));
        assert!(!holds_corners(&attributes("?"), &corners) && !holds_corners(&Map::new(), &corners));
        assert_eq!((corners.moved_from_edges(true).low, corners.moved_from_edges(false).low), (60.0, 30.0));
    }

    #[test]
    fn uneven_axes_are_refused_and_float32_is_even_enough() {
        for uneven in [&[1.0, 2.0, 4.0][..], &[1.0, 1.0], &[1.0, f64::NAN, 3.0], &[1.0, 2.02, 3.0, 4.0]] {
            assert!(PixelAxis::new(uneven, None).unwrap_err().contains("evenly"), "{uneven:?}");
        }
        let single: Vec<f64> = (0..3600).map(|k| f64::from(-179.95_f32 + 0.1 * k as f32)).collect();
        assert!((PixelAxis::new(&single, None).unwrap().size - 0.1).abs() < 1e-6);
    }

    #[test]
    fn kilometres_become_the_metres_of_the_crs() {
        let metres = Crs::from_wkt("PROJCRS[\"x\",CS[Cartesian,2],AXIS[\"e\",east],LENGTHUNIT[\"metre\",1]]");
        let kilometres =
            Crs::from_wkt("PROJCRS[\"x\",CS[Cartesian,2],AXIS[\"e\",east],LENGTHUNIT[\"kilometre\",1000]]");
        for (crs, units, factor) in [
            (&metres, "km", 1000.0),
            (&metres, "Kilometers", 1000.0),
            (&metres, "m", 1.0),
            (&kilometres, "km", 1.0),
            (&Crs::unknown(), "km", 1.0),
        ] {
            assert_eq!(to_unit_of(crs, units), factor, "{units}");
        }
        let axis = PixelAxis::new(&[25.0, 35.0], None).unwrap().times(1000.0);
        assert_eq!((axis.low, axis.high()), (20_000.0, 40_000.0));
    }

    #[test]
    fn codes_end_the_text() {
        for (wkt, code) in [
            ("PROJCRS[\"x\",BASEGEOGCRS[\"w\",ID[\"EPSG\",4326]],ID[\"EPSG\",32633]]", Some("EPSG:32633")),
            ("PROJCS[\"x\",AUTHORITY[\"EPSG\",\"32633\"]]", Some("EPSG:32633")),
            ("PROJCRS[\"x\",BASEGEOGCRS[\"w\",ID[\"EPSG\",4326]]]", None),
            ("PROJCRS[\"x\",ID[\"EPSG\",4326],REMARK[\"y\"]]", None),
            ("", None),
        ] {
            assert_eq!(authority_code(wkt).as_deref(), code, "{wkt}");
        }
    }
}
