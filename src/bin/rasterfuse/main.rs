//! The program `rasterfuse`: fuses raster time series that a TOML file describes.
//!
//! A file for each subcommand and what they share: `outcome` (errors, hints, exit codes), `output` (text and JSON),
//! `complain`, `plain`, `progress`, `paths`. Whatever names a flag or a command to run next is here; the library knows neither.

mod basis;
mod change;
mod complain;
mod estimate;
mod export;
mod fuse;
mod hint;
mod init;
mod look;
mod outcome;
mod output;
mod paths;
mod plain;
mod plan;
mod progress;
mod seasonal;
mod validate;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Fuse raster time series of several instruments into one gap-free series with uncertainty.
#[derive(Debug, Parser)]
#[command(name = "rasterfuse", version, propagate_version = true, arg_required_else_help = true, after_help = EXAMPLE)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Example, from two folders of rasters to a fused series:
  rasterfuse init sentinel modis -o fusion.toml
  rasterfuse estimate fusion.toml -o numbers.toml
  rasterfuse plan numbers.toml
  rasterfuse fuse numbers.toml
  rasterfuse validate numbers.toml

Exit status: 0 success, 1 an error of the description, the inputs or the run, 2 wrong usage, 3 a store
that is not what was written (verify), 130 after Ctrl-C.";

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Arguments),
    Estimate(estimate::Arguments),
    Validate(validate::Arguments),
    Plan(plan::Arguments),
    Fuse(fuse::Arguments),
    Seasonal(seasonal::Arguments),
    Basis(basis::Arguments),
    Change(change::Arguments),
    Verify(verify::Arguments),
    Export(export::Arguments),
    Look(look::Arguments),
}

fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(message) => return outcome::usage(&message),
    };
    listen();
    outcome::of(match &program.command {
        Command::Fuse(arguments) => fuse::run(arguments),
        Command::Plan(arguments) => plan::run(arguments),
        Command::Estimate(arguments) => estimate::run(arguments),
        Command::Validate(arguments) => validate::run(arguments),
        Command::Seasonal(arguments) => seasonal::run(arguments),
        Command::Basis(arguments) => basis::run(arguments),
        Command::Change(arguments) => change::run(arguments),
        Command::Init(arguments) => init::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Look(arguments) => look::run(arguments),
    })
}

/// Warnings, and how far an estimation has come, go to stderr.
fn listen() {
    // Stages are shown with the time left.
    let heard = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("rasterfuse", LevelFilter::INFO)
        .with_target("rasterfuse::estimate::watch", LevelFilter::WARN);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| progress::Above).without_time();
    tracing_subscriber::registry().with(lines.with_filter(heard)).init();
}
