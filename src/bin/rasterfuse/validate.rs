//! `rasterfuse validate`: withholds observations of a fusion and reports how well they are predicted.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use rasterfuse::config::FusionConfig;
use rasterfuse::validate::{Validation, Withhold};

use crate::outcome::Outcome;
use crate::output::{JsonFile, say};
use crate::progress::{Meter, OPENING};

/// Withhold observations (blocks of pixels and whole dates), fuse without them, and report how well they are predicted.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Arguments {
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
    /// Seed of the random draw; the same seed withholds the same observations.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Do not compare with baselines, such as the last clear value of a pixel: the inputs are read once less.
    #[arg(long)]
    no_baselines: bool,
    #[command(flatten)]
    json: JsonFile,
}

const EXAMPLE: &str = "\
Example, one whole date and a fifth of the blocks of one instrument:
  rasterfuse validate fusion.toml --instrument landsat --dates 1 --share 0.2 --json scores.json";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let shown = arguments.json.to();
    shown.check()?;
    let started = Instant::now();
    let mut withhold = Withhold::default().share(arguments.share);
    if let Some(pixels) = arguments.block {
        withhold = withhold.block(pixels);
    }
    if let Some(dates) = arguments.dates {
        withhold = withhold.dates(dates);
    }
    let mut validation = Validation::new().seed(arguments.seed).baselines(!arguments.no_baselines);
    validation = match &arguments.instrument[..] {
        [] => validation.withhold(withhold),
        names => names
            .iter()
            .fold(validation.withhold(Withhold::nothing()), |validation, name| validation.withhold_of(name, withhold)),
    };
    let config = FusionConfig::read(&arguments.config)?;
    let meter = Meter::new();
    meter.announce(OPENING);
    let fusion = config.builder()?;
    let report = validation.run_with(fusion, |progress| meter.show(progress.run.dates, progress));
    meter.end();
    let report = report?;
    if shown.is_text() {
        say!("{report}\ntotal {:.2} s", started.elapsed().as_secs_f64());
    }
    shown.json(&report)
}
