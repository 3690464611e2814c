//! The command line around an example: arguments, one message on an error, lines on the standard output.

use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Reads the arguments and does the work. Exit status 0 on success, 1 with one message on any error; warnings, and how far
/// an estimation has come, go to stderr.
pub(crate) fn run<A: Parser, E: Display>(work: impl FnOnce(&A) -> Result<(), E>) -> ExitCode {
    let heard = Targets::new().with_default(LevelFilter::WARN).with_target("rasterfuse", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).without_time();
    tracing_subscriber::registry().with(lines.with_filter(heard)).init();
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            let _ = message.print();
            return ExitCode::from(u8::from(message.use_stderr()));
        }
    };
    match work(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line; nobody reading it, as behind `| head`, is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
pub(crate) use say;
