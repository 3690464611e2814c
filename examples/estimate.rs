//! Estimates what a TOML file leaves to `"estimate"`: `cargo run --release --example estimate -- FUSION.toml`.
//!
//! Writes `FUSION.estimated.toml`, the same file with numbers and, in comments, how sure they are. Exit status 0 on success, 1 with
//! one message on any error.

mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rasterfuse::config::FusionConfig;

use common::command::{run, say};

/// Find the numbers of a fusion, and its structure, by maximum likelihood.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Description of the fusion, with "estimate" in place of numbers or whole tables.
    config: PathBuf,
    /// Where the description with numbers goes; default: FUSION.estimated.toml beside it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write what was found, and what was compared, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(estimate)
}

fn estimate(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    // The search takes minutes: what cannot be written in the end is told before.
    if let Some(output) = &arguments.output
        && folder(output)? != folder(&arguments.config)?
    {
        let problem = "paths in it are relative to its folder; let it lie beside the description that it is made of";
        return Err(format!("{}: {problem}", output.display()).into());
    }
    arguments.json.as_deref().map(folder).transpose()?;
    let estimated = FusionConfig::read(&arguments.config)?.estimate()?;
    let path = arguments.output.clone().unwrap_or_else(|| estimated.default_path());
    say!("{estimated}");
    estimated.write(&path)?;
    if let Some(path) = &arguments.json {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        std::fs::write(path, serde_json::to_vec_pretty(&estimated)?).map_err(failed)?;
    }
    say!("written {}; total {:.1} s", path.display(), started.elapsed().as_secs_f64());
    Ok(())
}

/// The folder that a file lies in, which must be there.
fn folder(file: &Path) -> Result<PathBuf, String> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.canonicalize().map_err(|error| format!("{}: its folder: {error}", file.display()))
}
