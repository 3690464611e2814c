//! Estimates what a TOML file leaves to `"estimate"`: `cargo run --release --example estimate -- FUSION.toml`.
//!
//! Writes `FUSION.estimated.toml`, the same file with numbers and, in comments, how sure they are. Exit status 0 on success, 1 with
//! one message on any error.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rasterfuse::config::FusionConfig;

/// Find the numbers of a fusion, and its structure, by maximum likelihood.
#[derive(Debug, Parser)]
struct Arguments {
    /// Description of the fusion, with "estimate" in place of numbers or whole tables.
    config: PathBuf,
    /// Where the description with numbers goes; default: FUSION.estimated.toml beside it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).without_time().init();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            let _ = message.print();
            return ExitCode::from(u8::from(message.use_stderr()));
        }
    };
    match estimate(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn estimate(arguments: &Arguments) -> rasterfuse::Result<()> {
    let started = Instant::now();
    let estimated = FusionConfig::read(&arguments.config)?.estimate()?;
    let path = arguments.output.clone().unwrap_or_else(|| estimated.default_path());
    estimated.write(&path)?;
    // Nobody reading it, as behind `| head`, is no reason to fail.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{estimated}");
    let _ = writeln!(out, "written {}; total {:.1} s", path.display(), started.elapsed().as_secs_f64());
    Ok(())
}
