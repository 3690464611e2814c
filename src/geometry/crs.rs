//! Coordinate reference systems, as text.

use std::fmt;

use super::wkt;

/// A coordinate reference system, given by its WKT and, where it has one, its authority code.
///
/// The numerics do not interpret it: it is compared, and copied from the inputs to the metadata of the output. The
/// empty CRS ([`Crs::unknown`]) stands for rasters without georeferencing, such as plain arrays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crs {
    wkt: String,
    code: Option<String>,
}

impl Crs {
    /// The CRS of rasters that do not give one.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// A CRS from its well-known text.
    #[must_use]
    pub fn from_wkt(wkt: impl Into<String>) -> Self {
        Self { wkt: wkt.into(), code: None }
    }

    /// Adds the authority code, such as `EPSG:32633`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Well-known text; empty when unknown.
    #[must_use]
    pub fn wkt(&self) -> &str {
        &self.wkt
    }

    /// Authority code, such as `EPSG:32633`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether the CRS is unknown.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.wkt.is_empty()
    }

    /// Whether its coordinates are longitudes and latitudes.
    #[must_use]
    pub fn is_geographic(&self) -> bool {
        self.wkt.trim_start().to_uppercase().starts_with("GEOG")
    }

    /// Whether the texts or codes are equal. `false` does not prove that the two CRS differ.
    #[must_use]
    pub fn is_same_text(&self, other: &Self) -> bool {
        self.wkt == other.wkt || (self.code.is_some() && self.code == other.code)
    }

    /// What this CRS says otherwise than another one, for messages: `PARAMETER "False easting" 500000 against 0`. Empty
    /// where one of them is unknown.
    #[must_use]
    pub fn difference(&self, other: &Self) -> String {
        if self.is_unknown() || other.is_unknown() { String::new() } else { wkt::difference(&self.wkt, &other.wkt) }
    }
}

impl fmt::Display for Crs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted_after = |start: usize| self.wkt[start..].split('"').nth(1);
        match (&self.code, quoted_after(0)) {
            (Some(code), _) => f.write_str(code),
            // GDAL and PROJ give these names to what has none, such as the sinusoidal grid of MODIS: its projection then.
            (None, Some(name)) if ["unknown", "unnamed", ""].contains(&name.to_lowercase().as_str()) => {
                let method =
                    ["PROJECTION[", "METHOD["].iter().find_map(|key| self.wkt.find(key)).and_then(quoted_after);
                match method {
                    Some(method) => write!(f, "{} without a name", method.replace('_', " ")),
                    None => f.write_str("without a name"),
                }
            }
            (None, Some(name)) => f.write_str(name),
            (None, None) => f.write_str("no CRS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crs_is_shown_by_code_name_or_projection() {
        let sinusoidal = r#"PROJCS["unknown",GEOGCS["unknown",DATUM["unknown",SPHEROID["unknown",6371007.181,0]]],PROJECTION["Sinusoidal"]]"#;
        let equal_area =
            r#"PROJCRS["unnamed",BASEGEOGCRS["WGS 84"],CONVERSION["unnamed",METHOD["Lambert Azimuthal Equal Area"]]]"#;
        for (wkt, shown) in [
            (sinusoidal, "Sinusoidal without a name"),
            (equal_area, "Lambert Azimuthal Equal Area without a name"),
            (r#"GEOGCS["unknown",DATUM["unknown"]]"#, "without a name"),
            (r#"PROJCS["WGS 84 / UTM zone 33N",PROJECTION["Transverse_Mercator"]]"#, "WGS 84 / UTM zone 33N"),
            ("", "no CRS"),
        ] {
            assert_eq!(Crs::from_wkt(wkt).to_string(), shown);
        }
        assert_eq!(Crs::from_wkt(sinusoidal).with_code("ESRI:54008").to_string(), "ESRI:54008");
    }
}
