//! The description as commented TOML.

use std::fmt::Write as _;
use std::path::Path;

use rasterfuse::geometry::Grid;
use rasterfuse::source::gdal::{read_header, same_crs};
use rasterfuse::source::{RasterSource, RasterStack};

use super::find::{Files, FoundInstrument};
use super::names::hidden;
use super::within;
use crate::outcome::{Failure, Outcome};

/// Writes what was found as a description whose file lies in `base`; everything that files do not say is left to be
/// estimated.
pub(super) fn description(found: &[FoundInstrument], notes: &[String], output: &Path, base: &Path) -> Outcome<String> {
    let finer = |a: &&FoundInstrument, b: &&FoundInstrument| a.pixel().total_cmp(&b.pixel());
    let Some(finest) = found.iter().min_by(finer) else {
        return Err(Failure::Program("no instrument was found".into()));
    };
    let target_bands = finest.stack.bands();
    let (this, estimated) = (output.display(), output.with_extension("estimated.toml"));
    let estimated = estimated.display();
    let mut text = format!(
        "# Written by `rasterfuse init`. Every key is explained in docs/toml.md. Next:\n\
         #   rasterfuse estimate {this}   finds every number that is \"estimate\"\n\
         #   rasterfuse plan {estimated}   says what a run will take\n\
         #   rasterfuse fuse {estimated}\n\n"
    );
    for note in notes {
        comment(&mut text, &format!("Left out: {note}"));
    }
    line(
        &mut text,
        "# How the scene changes, and what is known before the first date: structure and numbers are estimated from the data.",
    );
    line(&mut text, "process = \"estimate\"\nprior = \"estimate\"\n");
    line(
        &mut text,
        &format!("# The grid and bands of the result: those of {}, which has the finest pixels.", finest.name),
    );
    line(&mut text, "[target]");
    text += &target(finest, base);
    line(&mut text, &format!("bands = {}", list(target_bands)));
    line(&mut text, "# unit = \"1\"                             # of the values, for the metadata\n");
    line(&mut text, &time(found));
    for one in found {
        text += &instrument(one, finest, base);
    }
    comment(
        &mut text,
        &format!(
            "For archives: each value also uses so many later dates of the output axis, enough to reach the next image of {}.\n\
             0 for near real time: values rest on the past only.",
            finest.name
        ),
    );
    line(&mut text, &format!("[smoothing]\nlag = {}\n", lag(finest)));
    line(&mut text, "[output]\nstore = \"fused.zarr\"                      # a Zarr group; xarray and GDAL open it");
    Ok(text)
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A comment, of as many lines as the text has.
fn comment(text: &mut String, about: &str) {
    about.lines().for_each(|part| line(text, &format!("# {part}")));
}

/// A TOML string of anything.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn list(names: &[String]) -> String {
    names.iter().map(String::as_str).collect::<toml_edit::Array>().to_string()
}

/// The grid: a raster that has it, or its numbers.
fn target(finest: &FoundInstrument, base: &Path) -> String {
    let grid = finest.stack.grid();
    let first = finest.stack.files().next().map(|(_, path)| path.to_path_buf());
    let same = first.filter(|path| read_header(path).is_ok_and(|header| header.grid == *grid));
    if let Some(path) = same.filter(|path| path.is_file()) {
        return format!("like = {}\n", quoted(&within(&path, base).to_string_lossy()));
    }
    let (rows, cols) = grid.shape();
    let mut text = String::new();
    if !grid.crs().is_unknown() {
        let crs = grid.crs().code().unwrap_or(grid.crs().wkt());
        line(&mut text, &format!("crs = {}", quoted(crs)));
    }
    line(&mut text, &format!("geotransform = {:?}\nshape = [{rows}, {cols}]", grid.geotransform()));
    text
}

/// The period, all dates unless given.
fn time(found: &[FoundInstrument]) -> String {
    let dates = || found.iter().flat_map(|one| one.stack.dates());
    match dates().min().zip(dates().max()) {
        Some((first, last)) => format!(
            "[time]                                   # first and last day; default: all dates\n\
             start = \"{first}\"\n# end = \"{last}\"                       # default: the last date found, so that later images are appended\noutput = \"daily\"                         # or \"observed\", or a list of dates\n"
        ),
        None => String::new(),
    }
}

/// Days that reach from one date of the finest instrument to the next, within bounds: a lag takes memory and time.
fn lag(finest: &FoundInstrument) -> i32 {
    let mut gaps: Vec<i32> = finest.stack.dates().windows(2).map(|pair| pair[1].days_since(pair[0])).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    (usual + 1).clamp(8, 17)
}

/// How an instrument lies on the target.
enum Fit {
    /// Its pixels are cells.
    Cells,
    Coarser,
    Reprojected(&'static str),
}

fn fit(grid: &Grid, target: &Grid, ratio: f64) -> Fit {
    if !same_crs(grid.crs(), target.crs()) {
        Fit::Reprojected(if ratio > 1.5 { "nearest" } else { "bilinear" })
    } else if target.lattice_offset(grid).is_some() {
        Fit::Cells
    } else if grid.cell_size().0 > 1.001 * target.cell_size().0 && grid.cell_size().1 > 1.001 * target.cell_size().1 {
        Fit::Coarser
    } else {
        Fit::Reprojected("bilinear")
    }
}

fn instrument(one: &FoundInstrument, finest: &FoundInstrument, base: &Path) -> String {
    let mut text = String::new();
    let (width, height) = one.stack.grid().cell_size();
    let crs = match one.stack.grid().crs() {
        crs if crs.is_unknown() => "no CRS".to_owned(),
        crs => format!("CRS {crs}"),
    };
    comment(&mut text, &format!("{}: {}; pixels of {width} x {height}, {crs}.", one.what(), one.span()));
    line(&mut text, &format!("# Bands: {}.", one.stack.bands().join(", ")));
    line(&mut text, &dates(&one.stack));
    if let Some(level) = one.level {
        line(&mut text, &format!("# Values about {level:.3}."));
        let ratio = finest.level.map_or(1.0, |other| (level / other).abs());
        if !(0.05..=20.0).contains(&ratio) {
            comment(&mut text, &format!("CHECK: those of {} are of another size; give each its `scale`.", finest.name));
        }
    }
    let observed = observed(one.stack.bands(), finest.stack.bands());
    // What observes nothing that names identify stays a comment.
    let start = text.len();
    line(&mut text, &format!("[[instrument]]\nname = {}", quoted(&one.name)));
    text += &files(one, base);
    match &observed {
        Observed::Names => {}
        Observed::Places(bands) => line(
            &mut text,
            &format!("bands = {}   # CHECK: by their places; names do not say which band each observes", list(bands)),
        ),
        Observed::Unknown => {
            line(&mut text, "bands = []   # for each of its bands the target band that it observes, \"\" for none");
        }
    }
    text += &place(one, finest);
    line(&mut text, "noise_variance = \"estimate\"");
    let coarse = !matches!(fit(one.stack.grid(), finest.stack.grid(), one.pixel() / finest.pixel()), Fit::Cells);
    if !std::ptr::eq(one, finest) {
        line(
            &mut text,
            "bias = \"estimate\"                        # a constant difference from the finest instrument",
        );
    }
    if coarse && !std::ptr::eq(one, finest) {
        line(&mut text, "offset_layer = \"estimate\"                # an error of each pixel that changes slowly");
    }
    if matches!(one.files, Files::Plain(_)) {
        line(
            &mut text,
            "# scale = 1e-4                           # if stored numbers are reflectance x 10 000; for all instruments",
        );
        line(&mut text, "# valid_range = [0.0, 1.5]               # values outside are missing, in physical units");
    }
    text.push('\n');
    if matches!(observed, Observed::Unknown) {
        let commented: String =
            text[start..].lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
        text.truncate(start);
        line(
            &mut text,
            "# CHECK: which target bands it observes is not known; give `bands` and take these comment marks away.",
        );
        text += &commented;
    }
    text
}

/// The dates of a stack, some of them where there are many.
fn dates(stack: &RasterStack) -> String {
    let dates: Vec<String> = stack.dates().iter().map(ToString::to_string).collect();
    let shown = if dates.len() > 12 {
        format!("{}, ..., {}", dates[..8].join(", "), dates[dates.len() - 2..].join(", "))
    } else {
        dates.join(", ")
    };
    format!("# Dates: {shown}.")
}

/// Which target band each band observes.
enum Observed {
    /// That of its own name, as is by default.
    Names,
    Places(Vec<String>),
    Unknown,
}

fn observed(bands: &[String], target: &[String]) -> Observed {
    if bands.iter().any(|band| target.contains(band)) {
        Observed::Names
    } else if bands.len() == target.len() {
        Observed::Places(target.to_vec())
    } else {
        Observed::Unknown
    }
}

/// The keys that find its files.
fn files(one: &FoundInstrument, base: &Path) -> String {
    let mut text = String::new();
    let folder = within(&one.folder, base);
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    match &one.files {
        Files::Product(product) => {
            line(&mut text, &format!("preset = {}", quoted(product.preset.name)));
            line(&mut text, &format!("files = {}", quoted(&folder.to_string_lossy())));
            if let Some(problem) = &one.without_quality {
                comment(
                    &mut text,
                    &format!("CHECK: clouds must be masked, but its quality files cannot be used: {problem}"),
                );
                line(&mut text, "quality = []");
            }
        }
        Files::Plain(layout) => {
            let pattern = |pattern: &str| match folder.to_str() {
                Some(".") => pattern.to_owned(),
                _ => format!("{}/{pattern}", glob::Pattern::escape(&folder.to_string_lossy())),
            };
            let (date, format) = &layout.date;
            line(&mut text, &format!("files = {}", quoted(&pattern(&layout.pattern))));
            let date = if date.contains('\'') { quoted(date) } else { format!("'{date}'") };
            line(&mut text, &format!("date = {date}"));
            if format != "%Y%m%d" {
                line(&mut text, &format!("date_format = {}", quoted(format)));
            }
            if !layout.bands.is_empty() {
                line(&mut text, &format!("source_bands = {}", list(&layout.bands)));
            }
            if one.mosaic {
                line(&mut text, "mosaic = true                            # images of the same date are merged");
            }
            match (&layout.quality, &one.without_quality) {
                (Some((files, kind)), None) => text += &quality(&pattern(files), kind),
                (Some((files, _)), Some(problem)) => {
                    comment(&mut text, &format!("CHECK: {files} cannot be used as quality: {problem}"));
                }
                (None, _) => line(
                    &mut text,
                    "# quality = { files = \"...\", bits = [1] }  # clouds, unless they are missing values already",
                ),
            }
        }
    }
    text
}

/// Which pixels a quality raster hides, where its kind is known.
fn quality(files: &str, kind: &str) -> String {
    let files = quoted(files);
    match hidden(kind) {
        Some((classes, [])) => format!(
            "# Classes of Sen2Cor: no data, saturated, cloud shadow, cloud, thin cirrus.\n\
             quality = {{ files = {files}, drop = {classes:?} }}\n"
        ),
        Some((_, bits)) => format!(
            "# Bits of HLS: cloud, next to cloud, cloud shadow.\nquality = {{ files = {files}, bits = {bits:?} }}\n"
        ),
        None => format!(
            "# CHECK: which pixels these files hide is not known: `bits`, `drop` or `keep` (docs/inputs.md#quality).\n\
             # quality = {{ files = {files}, keep = [0] }}\n"
        ),
    }
}

/// Footprint or reprojection.
fn place(one: &FoundInstrument, finest: &FoundInstrument) -> String {
    match fit(one.stack.grid(), finest.stack.grid(), one.pixel() / finest.pixel()) {
        Fit::Cells => "footprint = \"cell\"                       # its pixels are target cells\n".into(),
        Fit::Coarser => "footprint = \"uniform\"                    # a pixel averages the cells under it\n".into(),
        Fit::Reprojected(how) => format!(
            "reproject = {}                    # another CRS or lattice than the target's; pixels average the cells under them\n",
            quoted(how)
        ),
    }
}
