//! What to do about an error, in flags and commands of this program: the library's messages name neither.

use std::path::Path;

use rasterfuse::{Error, Remedy};

pub(crate) fn hint(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Input { source, .. } => return hint(source),
        Error::Unestimated { file: Some(file), .. } => return Some(estimate(file)),
        Error::StoreExists { .. } => {
            "--resume finishes an interrupted run, --append adds the dates that the store does not have"
        }
        Error::Export { problem, .. } if problem.contains("file already") => "--overwrite replaces it",
        Error::LateDate { .. } | Error::CannotContinue { remedy: Some(Remedy::Replay), .. } => {
            "add --replay to --resume or --append"
        }
        Error::CannotContinue { remedy: Some(Remedy::Append), .. } => "--append adds dates",
        Error::CannotContinue { remedy: Some(Remedy::AppendShards), .. } => {
            "run every --shard i/n with --append, then --finalize"
        }
        Error::Checkpoint { .. } => "if it is damaged, remove it, then run with --resume --replay or --append --replay",
        Error::Unfinished { .. } => "run the missing shards again (--shard i/n --resume), then --finalize",
        Error::Setting { key, .. } => match key.to_string().as_str() {
            "shard" => "--shard i/n names the shard",
            "seasonal.mean" => "`rasterfuse seasonal` makes the store",
            "process.variation.map" => "`rasterfuse change` makes a map",
            "basis.mean" | "basis.matrix" => "`rasterfuse basis` makes the files",
            _ => return None,
        },
        _ => return None,
    };
    Some(hint.into())
}

/// The two commands that fuse a description which leaves numbers free.
fn estimate(file: &Path) -> String {
    let estimated = file.with_extension("estimated.toml");
    format!("rasterfuse estimate {}, then rasterfuse fuse {}", file.display(), estimated.display())
}
