//! How far a run has come: a bar on a terminal, a line from time to time otherwise.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::complain::complain;
use crate::plain::Plain;

/// Shows the progress of a run on stderr.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    /// When the last line was printed, and how many tenths were done.
    last: Mutex<(Instant, usize)>,
}

/// The bar that is shown, which lines of the log must not cut through.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Where the lines of the log go: to stderr, above the bar if one is shown.
#[derive(Debug)]
pub(crate) struct Above;

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match shown {
            Some(bar) => bar.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Time between lines.
const INTERVAL: Duration = Duration::from_secs(10);

impl Meter {
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&bar);
        Self { bar, last: Mutex::new((Instant::now(), 0)) }
    }

    /// Shows a line about a run that has done some of all its dates.
    pub(crate) fn show(&self, (done, all): (usize, usize), progress: &impl Display) {
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(Plain(progress).to_string());
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        let tenth = done * 10 / all.max(1);
        // Another pass begins.
        last.1 = last.1.min(tenth);
        if last.0.elapsed() >= INTERVAL || tenth > last.1 {
            *last = (Instant::now(), tenth);
            complain!("{progress}");
        }
    }

    /// Shows a line about something that begins, however short the last one was ago.
    pub(crate) fn begin(&self, (done, all): (usize, usize), progress: &impl Display) {
        if self.bar.is_some() {
            return self.show((done, all), progress);
        }
        if let Ok(mut last) = self.last.lock() {
            *last = (Instant::now(), done * 10 / all.max(1));
            complain!("{progress}");
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        }
    }
}
