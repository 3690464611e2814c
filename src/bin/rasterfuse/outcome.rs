//! How a command ends: its errors, and what they are on stderr and as an exit status.

use std::error::Error as StdError;
use std::process::ExitCode;

use crate::complain::complain;
use crate::hint::hint;

/// What a command returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// An error of the library, or one of the program's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Library(#[from] rasterfuse::Error),
    /// With the file, and what to do.
    #[error("{0}")]
    Program(String),
    /// A store that is not what was written.
    #[error("{0}")]
    Damaged(String),
    /// By Ctrl-C; with what is left of it.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// Exit status after Ctrl-C, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Exit status of a store that is not what was written.
const DAMAGED: u8 = 3;

/// Help and version, or wrong usage: status 0 or 2.
pub(crate) fn usage(message: &clap::Error) -> ExitCode {
    // Nobody reading it, as behind `| head`, changes nothing.
    let _ = message.print();
    ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2))
}

/// Status 0, 130 after Ctrl-C, 3 of a damaged store, or 1, with the error, what caused it and what to do on stderr.
pub(crate) fn of(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    complain!("{}", complaint(&failure).trim_end());
    match failure {
        Failure::Interrupted(_) => ExitCode::from(INTERRUPTED),
        Failure::Damaged(_) => ExitCode::from(DAMAGED),
        Failure::Library(_) | Failure::Program(_) => ExitCode::FAILURE,
    }
}

/// The message, causes that it does not hold already, and what to do in words of the program.
fn complaint(failure: &Failure) -> String {
    let message = failure.to_string();
    let mut lines = vec![format!("error: {message}")];
    let mut said = message;
    let mut cause = failure.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Bindings wrap what a library said.
        let own = text.split_once("Error msg: '").map_or(text.as_str(), |(_, own)| own.trim_end_matches('\''));
        if !said.contains(own) {
            lines.push(format!("  caused by: {text}"));
            said.push_str(&text);
        }
        cause = error.source();
    }
    if let Failure::Library(error) = failure
        && let Some(hint) = hint(error)
    {
        lines.push(format!("hint: {hint}"));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rasterfuse::Error;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        let full = std::io::Error::other("the disk is full");
        let error = |problem: &str, source: std::io::Error| {
            let (path, problem) = (PathBuf::from("fused.zarr"), problem.to_owned());
            complaint(&Error::Store { path, problem, source: Some(Box::new(source)) }.into())
        };
        assert_eq!(error("the disk is full", full), "error: cannot write store fused.zarr: the disk is full\n");
        let other = std::io::Error::other("no space");
        assert_eq!(error("chunk 1", other), "error: cannot write store fused.zarr: chunk 1\n  caused by: no space\n");
    }
}
