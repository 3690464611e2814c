//! What is in a folder: published products, or plain rasters with dates in their names.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rasterfuse::geometry::PixelRegion;
use rasterfuse::preset::{Preset, Recognised};
use rasterfuse::source::{Quality, RasterSource, RasterStack, StackBuilder};
use serde_json::{Value, json};

use super::names::{NamePattern, hidden, patterns};
use crate::outcome::{Failure, Outcome};

/// An instrument that was found.
#[derive(Debug)]
pub(super) struct FoundInstrument {
    pub(super) name: String,
    /// Where it was looked for.
    pub(super) folder: PathBuf,
    pub(super) files: Files,
    pub(super) stack: RasterStack,
    /// Why its quality files, where there are any, are not used.
    pub(super) without_quality: Option<String>,
    /// Mean of some of its values, as they are read.
    pub(super) level: Option<f64>,
    /// Whether several images of a date are laid over one another.
    pub(super) mosaic: bool,
}

/// How its files are found.
#[derive(Debug)]
pub(super) enum Files {
    Product(Recognised),
    Plain(NamePattern),
}

/// What GDAL reads and dates are looked for in.
const RASTERS: [&str; 8] = ["tif", "tiff", "jp2", "img", "vrt", "bil", "asc", "dat"];

/// Adds the instruments in a folder, and notes on what was left out.
pub(super) fn instruments(folder: &Path, found: &mut Vec<FoundInstrument>, notes: &mut Vec<String>) -> Outcome {
    if !folder.is_dir() {
        return Err(Failure::Program(format!("{}: there is no such folder", folder.display())));
    }
    let mut products: Vec<Recognised> = Vec::new();
    for product in Preset::recognise(folder)? {
        match products.iter().find(|held| is_variant(held.preset, product.preset)) {
            Some(held) => notes.push(format!(
                "{}: the same files hold {}, of which {} was taken",
                folder.display(),
                product.preset.title,
                held.preset.name
            )),
            None => products.push(product),
        }
    }
    let several = products.len() > 1;
    let plain = products.is_empty();
    for product in products {
        let name = if several { product.preset.name.to_owned() } else { name_of(folder) };
        match open_product(folder, name, product) {
            Ok(one) => found.push(one),
            Err(note) => notes.push(note),
        }
    }
    if plain { plain_rasters(folder, found, notes) } else { Ok(()) }
}

/// Whether two products are bands of the same acquisitions at two cell sizes.
fn is_variant(a: &Preset, b: &Preset) -> bool {
    let quality = |preset: &Preset| preset.quality.first().map(|quality| quality.files);
    a.date == b.date && quality(a).is_some() && quality(a) == quality(b)
}

fn open_product(folder: &Path, name: String, product: Recognised) -> Result<FoundInstrument, String> {
    let stack = || product.preset.stack_of(folder, &product.bands);
    if product.preset.bands.is_empty() {
        return Err(format!(
            "{}: {} has hundreds of bands and needs a spectral basis; `rasterfuse basis` finds one, and docs/spectra.md says how to describe it",
            folder.display(),
            product.preset.title
        ));
    }
    let (stack, without_quality) = match stack().open() {
        Ok(opened) => (opened, None),
        Err(first) => match stack().no_quality().open() {
            Ok(opened) => (opened, Some(first.to_string())),
            Err(_) => return Err(format!("{} ({}): {first}", folder.display(), product.preset.name)),
        },
    };
    let (folder, files, level) = (folder.to_path_buf(), Files::Product(product), level(&stack));
    Ok(FoundInstrument { name, folder, files, stack, without_quality, level, mosaic: false })
}

fn plain_rasters(folder: &Path, found: &mut Vec<FoundInstrument>, notes: &mut Vec<String>) -> Outcome {
    let mut paths = Vec::new();
    let mut cubes = 0;
    walk(folder, folder, &mut paths, &mut cubes)?;
    let (patterns, undated) = patterns(&paths);
    if let Some(first) = undated.first() {
        let more = if undated.len() > 1 { format!(" and {} more", undated.len() - 1) } else { String::new() };
        notes.push(format!("{}: no date in the name of {first}{more}", folder.display()));
    }
    if cubes > 0 {
        let advice = "describe them by hand with `zarr` or `series` (docs/inputs.md#cubes)";
        notes.push(format!("{}: {cubes} cubes (.zarr, .nc); {advice}", folder.display()));
    }
    if paths.is_empty() {
        notes.push(format!("{}: no raster ({})", folder.display(), RASTERS.join(", ")));
    }
    let several = patterns.len() > 1;
    for pattern in patterns {
        let name = if several && !pattern.stem.is_empty() { pattern.stem.to_lowercase() } else { name_of(folder) };
        match open_plain(folder, name, pattern) {
            Ok(one) => found.push(one),
            Err(note) => notes.push(note),
        }
    }
    Ok(())
}

fn open_plain(folder: &Path, name: String, pattern: NamePattern) -> Result<FoundInstrument, String> {
    let stack = |mosaic: bool, quality: bool| -> StackBuilder {
        let (date, format) = &pattern.date;
        let mut stack = RasterStack::builder(&pattern.pattern, date).date_format(format).folder(folder).mosaic(mosaic);
        if !pattern.bands.is_empty() {
            stack = stack.source_bands(pattern.bands.clone());
        }
        match &pattern.quality {
            Some((files, kind)) if quality => match hidden(kind) {
                Some((classes, bits)) => {
                    let classes = classes.iter().map(|class| f64::from(*class));
                    stack.quality(Quality::files(files).drop(classes).bits(bits.iter().copied()))
                }
                None => stack,
            },
            _ => stack,
        }
    };
    let mut first: Option<rasterfuse::Error> = None;
    // Images that are not all of one extent can still be laid on one lattice.
    let ways = [(pattern.mosaic, true), (pattern.mosaic, false), (true, true), (true, false)];
    for (mosaic, quality) in ways {
        match stack(mosaic, quality).open() {
            Ok(stack) => {
                let without_quality = if quality { None } else { first.map(|error| error.to_string()) };
                let (folder, files, level) = (folder.to_path_buf(), Files::Plain(pattern), level(&stack));
                return Ok(FoundInstrument { name, folder, files, stack, without_quality, level, mosaic });
            }
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    let problem = first.map(|error| error.to_string()).unwrap_or_default();
    Err(format!("{} ({}): {problem}", folder.display(), pattern.pattern))
}

/// Mean of what the middle of the first images shows, where they show anything.
fn level(stack: &RasterStack) -> Option<f64> {
    const SIDE: usize = 64;
    let middle = |length: usize| {
        let first = (length / 2).saturating_sub(SIDE / 2);
        first..(first + SIDE).min(length)
    };
    let (rows, cols) = stack.grid().shape();
    let region = PixelRegion::new(middle(rows), middle(cols));
    let bands: Vec<usize> = (0..stack.bands().len()).collect();
    stack.dates().iter().take(5).find_map(|date| {
        // What cannot be read is for the run to say.
        let slice = stack.read(*date, &bands, &region).ok()?;
        let values = slice.values.iter().filter(|value| value.is_finite());
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        (count > 0.0).then_some(sum / count)
    })
}

/// Rasters in a folder and below, by their paths relative to `base`; without hidden ones.
fn walk(folder: &Path, base: &Path, paths: &mut Vec<String>, cubes: &mut usize) -> Outcome {
    let failed = |error: std::io::Error| Failure::Program(format!("cannot read {}: {error}", folder.display()));
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
    entries.sort();
    for path in entries {
        let extension = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || extension == "state" {
            continue;
        }
        if matches!(extension.as_str(), "zarr" | "nc") {
            *cubes += 1;
        } else if path.is_dir() {
            walk(&path, base, paths, cubes)?;
        } else if RASTERS.contains(&extension.as_str())
            && let Ok(relative) = path.strip_prefix(base)
        {
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            paths.push(parts.join("/"));
        }
    }
    Ok(())
}

/// The name of a folder, for an instrument.
fn name_of(folder: &Path) -> String {
    let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().map_or_else(|| "instrument".into(), |name| name.to_string_lossy().into_owned())
}

impl FoundInstrument {
    /// Metres, or what stands for them, along a side of a pixel.
    pub(super) fn pixel(&self) -> f64 {
        let grid = self.stack.grid();
        let (width, height) = grid.cell_size();
        // A degree of a geographic CRS.
        let unit = if grid.crs().wkt().starts_with("GEOG") { 111_320.0 } else { 1.0 };
        unit * (width * height).sqrt()
    }

    /// The product or pattern.
    pub(super) fn what(&self) -> String {
        match &self.files {
            Files::Product(product) => product.preset.title.to_owned(),
            Files::Plain(pattern) => pattern.pattern.clone(),
        }
    }

    /// Its dates in a line.
    pub(super) fn span(&self) -> String {
        match self.stack.dates() {
            [only] => format!("1 date, {only}"),
            [first, .., last] => format!("{} dates from {first} to {last}", self.stack.dates().len()),
            [] => "no date".into(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let preset = match &self.files {
            Files::Product(product) => Some(product.preset.name),
            Files::Plain(_) => None,
        };
        json!({
            "name": self.name,
            "folder": self.folder,
            "files": self.what(),
            "preset": preset,
            "dates": self.stack.dates(),
            "bands": self.stack.bands(),
            "cell_size": self.stack.grid().cell_size(),
            "crs": self.stack.grid().crs().to_string(),
        })
    }
}

impl fmt::Display for FoundInstrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (width, height) = self.stack.grid().cell_size();
        let bands = self.stack.bands().join(", ");
        write!(f, "{}: {}; {}; {bands}; pixels of {width} x {height}", self.name, self.what(), self.span())
    }
}
