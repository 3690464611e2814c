//! `rasterfuse init`: writes a description of what it finds in folders.

mod find;
mod names;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use rasterfuse::config::FusionConfig;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::output::{JsonFile, cannot_write, folder_of, say};
use crate::progress::Meter;
use find::FoundInstrument;

/// Write a commented description of the rasters in folders.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Folders of rasters: one instrument each, or one for each published product that is recognised in it.
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// File for the description; paths in it are relative to its folder.
    #[arg(short, long, value_name = "FILE", default_value = "fusion.toml")]
    output: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    json: JsonFile,
}

const EXAMPLE: &str = "\
Example, from two folders to a fused series:
  rasterfuse init sentinel modis -o fusion.toml
  rasterfuse estimate fusion.toml
  rasterfuse fuse fusion.estimated.toml

Published products (HLS, Landsat Collection 2, Sentinel-2 L2A, MOD09GA, ...) are recognised by the names of their files,
other rasters by dates in theirs. The finest instrument gives the target grid. Read the comments before the next step.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let (shown, output) = (arguments.json.to(), &arguments.output);
    shown.check()?;
    if output.exists() && !arguments.force {
        let problem = "exists already; --force replaces it, or name another file with -o";
        return Err(Failure::Program(format!("{} {problem}", output.display())));
    }
    let folder = folder_of(output)?;
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    let meter = Meter::new();
    meter.announce("looking through the folders, and reading the headers of files");
    for path in &arguments.folders {
        find::instruments(path, &mut found, &mut notes)?;
    }
    if found.is_empty() {
        return Err(Failure::Program(nothing(&arguments.folders, &notes)));
    }
    distinguish(&mut found);
    let text = write::description(&found, &notes, output, &folder)?;
    meter.end();
    // Whatever is written can be read.
    FusionConfig::parse(&text, &folder)?;
    fs::write(output, &text).map_err(|error| cannot_write(output, &error))?;
    let instruments: Vec<_> = found.iter().map(FoundInstrument::json).collect();
    shown.json(&json!({ "file": output, "instruments": instruments, "notes": notes }))?;
    if shown.is_text() {
        found.iter().for_each(|one| say!("{one}"));
        notes.iter().for_each(|note| say!("note: {note}"));
        say!("written {}; read it, then: rasterfuse estimate {}", output.display(), output.display());
    }
    Ok(())
}

/// What was looked at where nothing was recognised.
fn nothing(folders: &[PathBuf], notes: &[String]) -> String {
    let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let mut lines = vec![format!("no dated rasters in {}", looked.join(", "))];
    lines.extend(notes.iter().map(|note| format!("  {note}")));
    lines.push(
        "  looked for the file names of published products, and for rasters with a date such as 20230403, 2023-04-03 or 2023093 in their names"
            .into(),
    );
    lines.join("\n")
}

/// Gives every instrument a name of its own.
fn distinguish(found: &mut [FoundInstrument]) {
    for index in 1..found.len() {
        let taken: Vec<String> = found[..index].iter().map(|other| other.name.clone()).collect();
        let plain = found[index].name.clone();
        let mut names = std::iter::once(plain.clone()).chain((2..).map(|number| format!("{plain}_{number}")));
        if let Some(name) = names.find(|name| !taken.contains(name)) {
            found[index].name = name;
        }
    }
}

/// A path relative to `base`, an absolute folder, if it lies there; whole otherwise.
fn within(path: &Path, base: &Path) -> PathBuf {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    whole.strip_prefix(base).map(Path::to_path_buf).unwrap_or(whole)
}
