//! `rasterfuse estimate`: finds what a description leaves to `"estimate"`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use clap::Args;
use rasterfuse::config::{EstimatedConfig, FusionConfig};
use rasterfuse::estimate::{EstimationProgress, Watch};
use rasterfuse::source::PassProgress;

use crate::complain::complain;
use crate::outcome::{self, Failure, Outcome};
use crate::output::{JsonFile, folder_of, say};
use crate::progress::Meter;

/// Find the numbers of a fusion, and its structure, by maximum likelihood.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
    /// Description of the fusion, with "estimate" in place of numbers or whole tables.
    config: PathBuf,
    /// File for the description with numbers; default: FUSION.estimated.toml in the same folder.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A first look in a fraction of the time: fewer blocks and dates, the usual structure, no standard errors.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    json: JsonFile,
}

const EXAMPLE: &str = "\
Example:
  rasterfuse estimate fusion.toml -o numbers.toml --json numbers.json
  rasterfuse fuse numbers.toml

The written file is the same description with numbers, and their standard errors as comments.
It takes seconds to minutes; stage, time and time left go to stderr. The best after each stage, and after
Ctrl-C, is in a file of the same name that ends in .partial.toml.";

/// How the file of the best so far ends.
const PARTIAL: &str = "partial.toml";

/// Shows how far an estimation has come; ends it after Ctrl-C.
#[derive(Debug)]
struct Follower {
    meter: Meter,
    /// The one that was shown last.
    stage: AtomicUsize,
    interrupted: &'static AtomicBool,
}

impl Watch for Follower {
    fn progress(&self, progress: &EstimationProgress) {
        SEARCHING.store(true, Ordering::Relaxed);
        let (stage, stages) = progress.stage;
        let at = (stage - 1, stages);
        if self.stage.swap(stage, Ordering::Relaxed) == stage {
            self.meter.show(at, progress);
        } else {
            self.meter.begin(at, progress);
        }
    }

    fn pass(&self, progress: &PassProgress) {
        self.meter.pass(progress);
    }

    fn stops(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// Whether there is something to end with.
static SEARCHING: AtomicBool = AtomicBool::new(false);

/// Set by Ctrl-C from here on; a second one, and one before the search, ends the program as usual.
fn interruption() -> Result<&'static AtomicBool, Failure> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) || !SEARCHING.load(Ordering::Relaxed) {
            std::process::exit(i32::from(outcome::INTERRUPTED));
        }
        complain!("interrupted: ending with the best so far; again to end at once");
    })
    .map_err(|error| Failure::Program(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(&INTERRUPTED)
}

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
    let replaces = |output: &Path| {
        is_same_file(output, &arguments.config) || is_same_file(&output.with_extension(PARTIAL), &arguments.config)
    };
    if arguments.output.as_deref().is_some_and(replaces) {
        let problem = "is the description itself, whose free numbers would be lost; name another file";
        return Err(Failure::Program(format!("{}: {problem}", arguments.config.display())));
    }
    shown.check()?;
    let config = FusionConfig::read(&arguments.config)?;
    let config = if arguments.quick { config.quick(true) } else { config };
    let path = |estimated: &EstimatedConfig| arguments.output.clone().unwrap_or_else(|| estimated.default_path());
    let partial = |estimated: &EstimatedConfig| path(estimated).with_extension(PARTIAL);
    let follower = Follower { meter: Meter::new(), stage: AtomicUsize::new(0), interrupted: interruption()? };
    follower.meter.announce("opening the inputs and reading blocks of the scene");
    let best = |estimated: &EstimatedConfig| {
        if let Err(error) = estimated.write(partial(estimated)) {
            tracing::warn!("the best so far is not kept: {error}");
        }
    };
    let estimated = config.estimate_watched(&follower, &best);
    follower.meter.end();
    let estimated = estimated?;
    let partial = partial(&estimated);
    let path = if estimated.result.finished { path(&estimated) } else { partial.clone() };
    if !estimated.result.finished && estimated.result.fit.steps == 0 {
        return Err(Failure::Interrupted("before anything was found; nothing is written".into()));
    }
    if shown.is_text() {
        say!("{estimated}");
    }
    estimated.write(&path)?;
    shown.json(&estimated)?;
    if shown.is_text() {
        say!("written {}; total {:.1} s", path.display(), started.elapsed().as_secs_f64());
    }
    if !estimated.result.finished {
        return Err(Failure::Interrupted(format!("the best so far, which is no optimum, is in {}", path.display())));
    }
    // It is whole now; a file that is not there is none to take away.
    let _ = std::fs::remove_file(partial);
    Ok(())
}

/// Whether two paths lead to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
