//! Keys that a description must have: where one is left out, its name and what to write.

use toml::{Table, Value};

/// Table, key, and what to write. What a table needs counts only where the table is there.
const REQUIRED: [(&str, &str, &str); 36] = [
    ("", "target", "add a table [target] with like = \"RASTER\", or with crs, geotransform and shape"),
    (
        "",
        "process",
        "add a table [process] with kernel, range and variance, or write process = \"estimate\" and estimate it",
    ),
    ("", "prior", "add a table [prior] with mean and variance, or write prior = \"estimate\" and estimate it"),
    ("", "instrument", "add a table [[instrument]] for each instrument"),
    ("", "output", "add a table [output] with store = \"NAME.zarr\""),
    ("process", "kernel", "give \"exponential\", \"matern32\", \"matern52\" or \"none\""),
    ("process", "variance", "give the variance of change, u² per day, or \"estimate\""),
    ("process.nested", "kernel", "give \"exponential\", \"matern32\", \"matern52\" or \"none\""),
    ("process.nested", "variance", "give the variance of change, u² per day, or \"estimate\""),
    ("process.field", "kernel", "give \"exponential\", \"matern32\", \"matern52\" or \"none\""),
    ("process.field", "variance", "give the variance of change, u² per day, or \"estimate\""),
    ("process.adaptive", "weight", "1 keeps the plain covariance, 0 replaces it by that of likeness"),
    ("process.adaptive", "scale", "give the scale of likeness, u"),
    ("process.relative", "weight", "1 lets change go with the level, 0 keeps the plain covariance"),
    ("process.relative", "level", "give the level at which change has its plain variance, u"),
    ("process.season", "cosine", "give the logarithm of the factor of change in January; 0 for none"),
    ("process.season", "sine", "give the logarithm of the factor of change in April; 0 for none"),
    (
        "process.variation",
        "range",
        "give the distance over which the factors of change are alike, in units of the target's CRS",
    ),
    ("process.variation", "points", "give a list of points, such as [{ at = [x, y], factor = 2.0 }]"),
    ("process.variation.points", "at", "give the point's coordinates [x, y] in the target's CRS"),
    ("process.variation.points", "factor", "give what the variances of change are multiplied by there"),
    ("process.features", "scale", "give the difference that makes the likeness 1/e, in the units of the features"),
    ("prior", "mean", "give what is believed before the first day, u, the path of a raster, or \"estimate\""),
    ("prior", "variance", "give how far a cell may lie from the mean, u², the path of a raster, or \"estimate\""),
    ("seasonal", "mean", "give the store that the example seasonal makes"),
    ("basis", "mean", "give a .npy file of shape (wavelengths)"),
    ("basis", "matrix", "give a .npy file of shape (wavelengths, components)"),
    ("instrument", "name", "give a name for messages and the report"),
    ("instrument.offset_layer", "per", "give \"pixel\", \"window\", \"acquisition\" or \"group\""),
    ("instrument.offset_layer", "variance", "give that of the offsets before the first day, u², or \"estimate\""),
    ("instrument.offset_layer.group", "table", "give a CSV file with columns date and group"),
    ("instrument.offset_by", "pattern", "give a regular expression whose first group is a number in the files' paths"),
    ("instrument.offset_by", "steps", "give a list such as [[0, 0.0], [400, -0.1]]"),
    ("instrument.quality.fields", "bits", "give the first and the last bit, such as [6, 7]"),
    ("instrument.quality.fields", "values", "give the numbers in these bits that hide a pixel, such as [3]"),
    ("output", "store", "give the folder of the Zarr store, such as \"fused.zarr\""),
];

/// The key that `text` leaves out, by its name and that of its table, and what to write; `missing` is what serde calls it.
pub(super) fn key(text: &str, missing: &str) -> Option<String> {
    let document: Table = text.parse().ok()?;
    let of_key = REQUIRED.iter().filter(|(_, key, _)| *key == missing);
    of_key.into_iter().find_map(|(table, key, advice)| {
        let path: Vec<&str> = table.split('.').filter(|name| !name.is_empty()).collect();
        let place = without(&document, &path, key)?;
        Some(format!("{place}{key}: not given; {advice}"))
    })
}

/// The first table at a path that lacks a key, as it is named before the key: lists of tables by position, instruments by name.
fn without(table: &Table, path: &[&str], key: &str) -> Option<String> {
    let Some((first, rest)) = path.split_first() else {
        return (!table.contains_key(key)).then(String::new);
    };
    let inside = |place: String, value: &Value| {
        let found = without(value.as_table()?, rest, key)?;
        Some(format!("{place}{found}"))
    };
    match table.get(*first)? {
        Value::Array(tables) => tables.iter().enumerate().find_map(|(k, value)| {
            let place = match value.get("name").and_then(Value::as_str).filter(|_| *first == "instrument") {
                Some(name) => format!("{first} {name:?}: "),
                None if *first == "instrument" => format!("{first} {}: ", k + 1),
                None => format!("{first} {}.", k + 1),
            };
            inside(place, value)
        }),
        value => inside(format!("{first}."), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_key_is_named() {
        let text = r#"
            [process]
            kernel = "none"
            [[process.nested]]
            kernel = "none"
            variance = 1
            [[process.nested]]
            variance = 1
            [[instrument]]
            name = "a"
            quality = { fields = [{ values = [1] }] }
            [[instrument]]
            [[instrument.offset_layer]]
            variance = 1
        "#;
        for (missing, start) in [
            ("prior", "prior: not given; add a table [prior]"),
            ("kernel", "process.nested 2.kernel: not given; give \"exponential\""),
            ("variance", "process.variance: not given"),
            ("name", "instrument 2: name: not given"),
            ("per", "instrument 2: offset_layer 1.per: not given"),
            ("bits", "instrument \"a\": quality.fields 1.bits: not given"),
        ] {
            let found = key(text, missing).unwrap_or_default();
            assert!(found.starts_with(start), "{missing}: {found}");
        }
        assert_eq!((key(text, "scale"), key(text, "unheard_of")), (None, None));
    }
}
