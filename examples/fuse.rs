//! Runs a whole fusion from a TOML file: `cargo run --release --example fuse -- FUSION.toml`.
//!
//! Exit status 0 on success, 1 with one message on any error.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use rasterfuse::config::FusionConfig;
use rasterfuse::engine::{FusedBlock, Report};
use rasterfuse::sink::{FusionSink, SeriesLayout, ZarrSink};

/// Fuse raster time series into one gap-free series with uncertainty.
#[derive(Debug, Parser)]
struct Arguments {
    /// Description of the fusion.
    config: PathBuf,
    /// Print what the run would take, and run nothing.
    #[arg(long)]
    plan: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            let _ = message.print();
            return ExitCode::from(u8::from(message.use_stderr()));
        }
    };
    match fuse(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fuse(arguments: &Arguments) -> rasterfuse::Result<()> {
    let config = FusionConfig::read(&arguments.config)?;
    let fusion = config.build()?;
    let sink = config.sink()?;
    if arguments.plan {
        say(fusion.plan());
        if let Err(error) = sink.check_absent() {
            say(format!("warning   {error}"));
        }
        return Ok(());
    }
    sink.check_absent()?;
    say(fusion.plan());
    let started = Instant::now();
    let blocks = (fusion.plan().tiles * fusion.output_dates().len()) as u64;
    let report = fusion.run(&mut WithProgress::new(sink, blocks))?;
    say(report);
    say(format!("total {:.2} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// Prints a line; nobody reading it, as behind `| head`, is no reason to stop a run.
fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A sink that shows how far the run has come: a bar on a terminal, a line per tenth otherwise.
#[derive(Debug)]
struct WithProgress {
    sink: ZarrSink,
    bar: Option<ProgressBar>,
    blocks: u64,
    done: AtomicU64,
}

impl WithProgress {
    fn new(sink: ZarrSink, blocks: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {eta} left");
            ProgressBar::new(blocks).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { sink, bar, blocks, done: AtomicU64::new(0) }
    }
}

impl FusionSink for WithProgress {
    fn begin(&mut self, layout: &SeriesLayout) -> rasterfuse::Result<()> {
        self.sink.begin(layout)
    }

    fn append(&self, block: &FusedBlock) -> rasterfuse::Result<()> {
        self.sink.append(block)?;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if done * 10 / self.blocks > (done - 1) * 10 / self.blocks => {
                eprintln!("{done} of {} blocks", self.blocks);
            }
            None => {}
        }
        Ok(())
    }

    fn commit(&mut self, dates: usize) -> rasterfuse::Result<()> {
        self.sink.commit(dates)
    }

    fn finish(&mut self, report: &Report) -> rasterfuse::Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.sink.finish(report)
    }
}
