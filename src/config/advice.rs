//! What to write where a table lacks a key that it must have.

/// Keys that a table must have, by their paths, and what to write.
const REQUIRED: [(&str, &str); 34] = [
    ("target", "add a table [target] with like = \"RASTER\", or with crs, geotransform and shape"),
    (
        "process",
        "add a table [process] with kernel, range and variance, or write process = \"estimate\" and estimate it",
    ),
    ("prior", "add a table [prior] with mean and variance, or write prior = \"estimate\" and estimate it"),
    ("instrument", "add a table [[instrument]] for each instrument"),
    ("output", "add a table [output] with store = \"NAME.zarr\""),
    ("process.kernel", "give \"exponential\", \"matern32\", \"matern52\" or \"none\""),
    ("process.variance", "give the variance of change, u² per day, or \"estimate\""),
    ("process.nested.kernel", "give \"exponential\", \"matern32\", \"matern52\" or \"none\""),
    ("process.nested.variance", "give the variance of change, u² per day, or \"estimate\""),
    ("process.field.kernel", "give \"exponential\", \"matern32\", \"matern52\" or \"none\""),
    ("process.field.variance", "give the variance of change, u² per day, or \"estimate\""),
    ("process.adaptive.weight", "1 keeps the plain covariance, 0 replaces it by that of similar histories"),
    ("process.adaptive.scale", "give the scale of similarity, u"),
    ("process.relative.weight", "1 makes change proportional to the level, 0 keeps the plain covariance"),
    ("process.relative.level", "give the level at which change has its plain variance, u"),
    ("process.season.cosine", "give the logarithm of the factor of change in January; 0 for none"),
    ("process.season.sine", "give the logarithm of the factor of change in April; 0 for none"),
    ("process.variation.map", "give the path of a raster of factors; a map of change is one"),
    ("process.features.scale", "give the difference that makes the similarity 1/e, in the units of the features"),
    ("prior.mean", "give what is believed before the first day, u, the path of a raster, or \"estimate\""),
    ("prior.variance", "give how far a cell may lie from the mean, u², the path of a raster, or \"estimate\""),
    ("seasonal.mean", "give the store of a seasonal mean"),
    ("basis.mean", "give a .npy file of shape (wavelengths)"),
    ("basis.matrix", "give a .npy file of shape (wavelengths, components)"),
    ("instrument.name", "give a name for messages and the report"),
    ("instrument.composite.days", "give the days of the product's window, such as 16"),
    ("instrument.offset_layer.per", "give \"pixel\", \"window\", \"acquisition\" or \"group\""),
    ("instrument.offset_layer.variance", "give that of the offsets before the first day, u², or \"estimate\""),
    ("instrument.offset_layer.group.table", "give a CSV file with columns date and group"),
    ("instrument.offset_by.pattern", "give a regular expression whose first group is a number in the files' paths"),
    ("instrument.offset_by.steps", "give a list such as [[0, 0.0], [400, -0.1]]"),
    ("instrument.quality.fields.bits", "give the first and the last bit, such as [6, 7]"),
    ("instrument.quality.fields.values", "give the numbers in these bits that hide a pixel, such as [3]"),
    ("output.store", "give the folder of the Zarr store, such as \"fused.zarr\""),
];

/// What to write for a key that is not given.
pub(super) fn missing(path: &str) -> Option<&'static str> {
    REQUIRED.iter().find(|(key, _)| *key == path).map(|(_, advice)| *advice)
}
