//! Roles of the dimensions of a cube: time, band, y and x.

use serde_json::{Map, Value};

/// Names of the dimensions of a cube, where they cannot be derived from attributes or common names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DimensionNames {
    /// The dimension of dates.
    pub time: Option<String>,
    /// The dimension of bands.
    pub band: Option<String>,
    /// The dimension of rows.
    pub y: Option<String>,
    /// The dimension of columns.
    pub x: Option<String>,
}

/// Position of each dimension in a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CubeAxes {
    pub(super) time: usize,
    pub(super) band: Option<usize>,
    pub(super) y: usize,
    pub(super) x: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Time,
    Band,
    Y,
    X,
}

const ROLES: [Role; 4] = [Role::Time, Role::Band, Role::Y, Role::X];

impl Role {
    fn key(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Band => "band",
            Self::Y => "y",
            Self::X => "x",
        }
    }

    /// Common names of such a dimension.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["time", "t", "date", "dates"],
            Self::Band => &["band", "bands", "wavelength", "wavelengths", "wl", "channel", "channels"],
            Self::Y => &["y", "lat", "latitude", "northing", "row", "rows", "yc", "ydim"],
            Self::X => &["x", "lon", "long", "longitude", "easting", "col", "column", "columns", "xc", "xdim"],
        }
    }

    /// CF standard names of its coordinate.
    fn standard_names(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["time"],
            Self::Band => {
                &["radiation_wavelength", "sensor_band_central_radiation_wavelength", "sensor_band_identifier"]
            }
            Self::Y => &["latitude", "grid_latitude", "projection_y_coordinate"],
            Self::X => &["longitude", "grid_longitude", "projection_x_coordinate"],
        }
    }

    fn given(self, names: &DimensionNames) -> Option<&str> {
        match self {
            Self::Time => &names.time,
            Self::Band => &names.band,
            Self::Y => &names.y,
            Self::X => &names.x,
        }
        .as_deref()
    }

    /// The role that the attributes of a coordinate give.
    fn from_attributes(attributes: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("axis") {
            "T" => return Some(Self::Time),
            "Y" => return Some(Self::Y),
            "X" => return Some(Self::X),
            _ => {}
        }
        let units = text("units").to_lowercase();
        let of_units = || match units.as_str() {
            "degrees_north" | "degree_north" => Some(Self::Y),
            "degrees_east" | "degree_east" => Some(Self::X),
            units if units.contains(" since ") => Some(Self::Time),
            _ => None,
        };
        ROLES.into_iter().find(|role| role.standard_names().contains(&text("standard_name"))).or_else(of_units)
    }

    fn from_name(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        ROLES.into_iter().find(|role| role.names().contains(&name.as_str()))
    }
}

impl CubeAxes {
    /// The axes from the names and lengths of a variable's dimensions. `attributes` returns those of a dimension's
    /// coordinate.
    ///
    /// # Errors
    /// A dimension that is missing, that occurs twice, or whose role is unknown.
    pub(super) fn new(
        dimensions: &[String],
        shape: &[u64],
        given: &DimensionNames,
        attributes: impl Fn(&str) -> Option<Map<String, Value>>,
    ) -> Result<Self, String> {
        if let Some((role, name)) = ROLES
            .into_iter()
            .filter_map(|role| role.given(given).map(|name| (role, name)))
            .find(|(_, name)| !dimensions.iter().any(|dimension| dimension == name))
        {
            return Err(format!("`dimensions` gives {} = {name:?}, but its dimensions are {dimensions:?}", role.key()));
        }
        let role_of = |name: &String| {
            let named = ROLES.into_iter().find(|role| role.given(given) == Some(name));
            let by_metadata = || {
                attributes(name)
                    .and_then(|attributes| Role::from_attributes(&attributes))
                    .or_else(|| Role::from_name(name))
            };
            // A name given to one role is not guessed for another.
            named.or_else(|| by_metadata().filter(|role| role.given(given).is_none()))
        };
        let roles: Vec<Option<Role>> = dimensions.iter().map(role_of).collect();
        let find = |role: Role| {
            let mut found = roles.iter().enumerate().filter(|(_, found)| **found == Some(role)).map(|(index, _)| index);
            match (found.next(), found.next()) {
                (Some(first), Some(second)) => Err(format!(
                    "both {:?} and {:?} look like its {} dimension; say which is with `dimensions`",
                    dimensions[first],
                    dimensions[second],
                    role.key()
                )),
                (found, _) => Ok(found),
            }
        };
        let needed = |role: Role| {
            find(role)?.ok_or_else(|| {
                format!(
                    "none of its dimensions {dimensions:?} is known for {}; name it with `dimensions`, such as {{ {} = {:?} }}",
                    role.key(),
                    role.key(),
                    dimensions.first().map_or("name", String::as_str)
                )
            })
        };
        if let Some(index) = (0..dimensions.len()).find(|&index| roles[index].is_none() && shape[index] != 1) {
            return Err(format!(
                "its dimension {:?} of length {} is neither time, band, y nor x; name it with `dimensions`, or choose one position \
                 of it first",
                dimensions[index], shape[index]
            ));
        }
        Ok(Self { time: needed(Role::Time)?, band: find(Role::Band)?, y: needed(Role::Y)?, x: needed(Role::X)? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn axes(dimensions: &[&str], given: &DimensionNames) -> Result<CubeAxes, String> {
        let names: Vec<String> = dimensions.iter().map(ToString::to_string).collect();
        CubeAxes::new(&names, &vec![3; names.len()], given, |name| {
            let attributes = match name {
                "when" => json!({ "units": "days since 1970-01-01" }),
                "north" => json!({ "standard_name": "projection_y_coordinate" }),
                "east" => json!({ "axis": "X" }),
                "x" => json!({ "units": "degrees_north" }), // someone's idea of x
                _ => return None,
            };
            attributes.as_object().cloned()
        })
    }

    #[test]
    fn dimensions_are_known_by_attributes_then_by_name_in_any_order() {
        let none = DimensionNames::default();
        let expected = |time, band, y, x| Ok(CubeAxes { time, band, y, x });
        assert_eq!(axes(&["time", "band", "y", "lon"], &none), expected(0, Some(1), 2, 3));
        assert_eq!(axes(&["lon", "LAT", "t"], &none), expected(2, None, 1, 0));
        assert_eq!(axes(&["east", "north", "wavelength", "when"], &none), expected(3, Some(2), 1, 0));
        assert_eq!(axes(&["time", "x", "lon"], &none), expected(0, None, 1, 2));
        let given = DimensionNames { band: Some("time".into()), time: Some("k".into()), ..none.clone() };
        assert_eq!(axes(&["time", "k", "y", "lon"], &given), expected(1, Some(0), 2, 3));
    }

    #[test]
    fn what_is_not_known_is_named_with_what_would_do() {
        let none = DimensionNames::default();
        let refused = |dimensions: &[&str], given: &DimensionNames| axes(dimensions, given).unwrap_err();
        let message = refused(&["time", "level", "y", "lon"], &none);
        assert!(message.contains("\"level\"") && message.contains("`dimensions`"), "{message}");
        let message = refused(&["k", "y", "lon"], &none);
        assert!(message.contains("\"k\""), "{message}");
        let message = refused(&["y", "lon"], &none);
        assert!(message.contains("known for time"), "{message}");
        let message = refused(&["time", "y", "lat", "lon"], &none);
        assert!(message.contains("\"y\" and \"lat\""), "{message}");
        let given = DimensionNames { y: Some("rows".into()), ..none };
        let message = refused(&["time", "y", "lon"], &given);
        assert!(message.contains("y = \"rows\""), "{message}");
    }
}
