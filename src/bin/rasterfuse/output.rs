//! What a command reports: lines of text, JSON, or both.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::outcome::{Failure, Outcome};

/// Prints a line; nobody reading it, as behind `| head`, is no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "{}", crate::plain::Plain(format_args!($($text)*)));
    }};
}
pub(crate) use say;

/// Where JSON goes: a file, or `-` for the standard output in place of text.
#[derive(Args, Clone, Debug)]
pub(crate) struct JsonFile {
    /// Write the report as JSON; `-` prints it instead of text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The same of commands whose `--json` may stand alone.
#[derive(Args, Clone, Debug)]
pub(crate) struct Json {
    /// Print the report as JSON instead of text, or write it to a file.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    json: Option<PathBuf>,
}

impl JsonFile {
    pub(crate) fn to(&self) -> Reporter<'_> {
        Reporter { json: self.json.as_deref() }
    }
}

impl Json {
    pub(crate) fn to(&self) -> Reporter<'_> {
        Reporter { json: self.json.as_deref() }
    }
}

/// Reports in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporter<'a> {
    json: Option<&'a Path>,
}

impl Reporter<'_> {
    /// Whether text is printed: not where JSON takes its place.
    pub(crate) fn is_text(self) -> bool {
        self.json != Some(Path::new("-"))
    }

    /// Refuses a file that could not be written, before the work that it reports.
    pub(crate) fn check(self) -> Outcome {
        self.json.filter(|_| self.is_text()).map(folder_of).transpose().map(drop)
    }

    /// Writes the report as JSON where that was asked for.
    pub(crate) fn json(self, report: &impl Serialize) -> Outcome {
        let Some(path) = self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Failure::Program(format!("the report cannot be written as JSON: {error}")))?;
        if self.is_text() {
            fs::write(path, text + "\n").map_err(|error| cannot_write(path, &error))?;
        } else {
            print(&text)?;
        }
        Ok(())
    }
}

/// Prints JSON, which somebody is to read: a disk that is full is an error, a reader that went away is not.
fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(cannot_write(Path::new("the standard output"), &error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Program(format!("cannot write {}: {error}", path.display()))
}

/// The folder that a file lies in, which must be there.
pub(crate) fn folder_of(file: &Path) -> Outcome<PathBuf> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.canonicalize().map_err(|error| Failure::Program(format!("{}: its folder: {error}", file.display())))
}
