//! `rasterfuse estimate`: finds what a description leaves to `"estimate"`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use rasterfuse::config::FusionConfig;

use crate::outcome::{Failure, Outcome};
use crate::output::{JsonFile, folder_of, say};

/// Find the numbers of a fusion, and its structure, by maximum likelihood.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Description of the fusion, with "estimate" in place of numbers or whole tables.
    config: PathBuf,
    /// Where the description with numbers goes; default: FUSION.estimated.toml in the same folder.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    json: JsonFile,
}

const EXAMPLE: &str = "\
Example:
  rasterfuse estimate fusion.toml -o numbers.toml --json numbers.json
  rasterfuse fuse numbers.toml

The file that is written is the same description with numbers and, in comments, how sure they are.
It takes seconds to minutes; how far it has come goes to stderr.";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    let started = Instant::now();
    // The search may take minutes: what cannot be written in the end is said before.
    if let Some(output) = &arguments.output
        && folder_of(output)? != folder_of(&arguments.config)?
    {
        let problem =
            "paths in it are relative to its folder; name one in the folder of the description that it is made of";
        return Err(Failure::Program(format!("{}: {problem}", output.display())));
    }
    if arguments.output.as_deref().is_some_and(|output| is_same_file(output, &arguments.config)) {
        let problem = "is the description itself, whose free numbers would be lost; name another file";
        return Err(Failure::Program(format!("{}: {problem}", arguments.config.display())));
    }
    shown.check()?;
    let estimated = FusionConfig::read(&arguments.config)?.estimate()?;
    let path = arguments.output.clone().unwrap_or_else(|| estimated.default_path());
    if shown.is_text() {
        say!("{estimated}");
    }
    estimated.write(&path)?;
    shown.json(&estimated)?;
    if shown.is_text() {
        say!("written {}; total {:.1} s", path.display(), started.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Whether two paths lead to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
