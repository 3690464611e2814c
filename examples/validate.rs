//! Withholds observations of a fusion, predicts them and says how well: `cargo run --release --example validate -- FUSION.toml`.
//!
//! Exit status 0 on success, 1 with one message on any error.

mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rasterfuse::config::FusionConfig;
use rasterfuse::validate::{Validation, Withhold};

use common::command::{run, say};

/// Withhold observations (blocks of pixels and whole dates), fuse without them, and tell how well they are predicted.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Description of the fusion. Its store is neither read nor written.
    config: PathBuf,
    /// Share of the blocks of each date that is withheld, 0 to 0.5.
    #[arg(long, default_value_t = 0.1)]
    share: f64,
    /// Pixels per side of a block; default 8, less for images of few pixels.
    #[arg(long)]
    block: Option<usize>,
    /// Dates of each instrument that are withheld as a whole; default a tenth, at least one.
    #[arg(long)]
    dates: Option<usize>,
    /// Withhold observations of these instruments only; default all. May be given again.
    #[arg(long, value_name = "NAME")]
    instrument: Vec<String>,
    /// What is drawn: the same seed withholds the same observations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    run(validate)
}

fn validate(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mut withhold = Withhold::default().share(arguments.share);
    if let Some(pixels) = arguments.block {
        withhold = withhold.block(pixels);
    }
    if let Some(dates) = arguments.dates {
        withhold = withhold.dates(dates);
    }
    let mut validation = Validation::new().seed(arguments.seed);
    validation = match &arguments.instrument[..] {
        [] => validation.withhold(withhold),
        names => names
            .iter()
            .fold(validation.withhold(Withhold::nothing()), |validation, name| validation.withhold_of(name, withhold)),
    };
    let report = validation.run(FusionConfig::read(&arguments.config)?.builder()?)?;
    say!("{report}\ntotal {:.2} s", started.elapsed().as_secs_f64());
    if let Some(path) = &arguments.json {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).map_err(failed)?;
    }
    Ok(())
}
