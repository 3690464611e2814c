//! How far a run has come: a bar on a terminal, a line from time to time otherwise, also while nothing new is known.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rasterfuse::source::{PassProgress, PassWatch};

use crate::complain::complain;
use crate::plain::Plain;

/// Shows the progress of a run on stderr.
#[derive(Debug)]
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    /// What was printed last.
    last: Arc<Mutex<Last>>,
}

/// The last line that was printed.
#[derive(Debug)]
struct Last {
    text: String,
    /// When the text was new, and when it was printed, perhaps again.
    new: Instant,
    printed: Instant,
    /// How many tenths were done.
    tenth: usize,
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

/// What commands begin with.
pub(crate) const OPENING: &str = "opening the inputs: reading the headers of all files";

/// Time between movements of the bar.
const TICK: Duration = Duration::from_millis(200);

/// Passes that take less are not worth a line.
const SHORT: Duration = Duration::from_secs(2);

/// Time between lines.
const INTERVAL: Duration = Duration::from_secs(10);

impl Meter {
    pub(crate) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {bar:40} {pos}/{len} {msg}");
            let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            // It moves while nothing new is known.
            bar.enable_steady_tick(TICK);
            bar
        });
        SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&bar);
        let now = Instant::now();
        let last = Arc::new(Mutex::new(Last { text: String::new(), new: now, printed: now, tenth: 0 }));
        if bar.is_none() {
            let followed = Arc::downgrade(&last);
            thread::spawn(move || repeat(&followed));
        }
        Self { bar, last }
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
        last.tenth = last.tenth.min(tenth);
        if last.printed.elapsed() >= INTERVAL || tenth > last.tenth {
            last.print(progress.to_string(), tenth);
        }
    }

    /// Shows a line about something that begins, however short the last one was ago.
    pub(crate) fn begin(&self, (done, all): (usize, usize), progress: &impl Display) {
        if self.bar.is_some() {
            return self.show((done, all), progress);
        }
        if let Ok(mut last) = self.last.lock() {
            last.print(progress.to_string(), done * 10 / all.max(1));
        }
    }

    /// Shows a line about a pass over all data; where there is no bar, none of short passes.
    pub(crate) fn pass(&self, progress: &PassProgress) {
        if self.bar.is_some() || self.last.lock().is_ok_and(|last| last.printed.elapsed() >= SHORT) {
            self.show(((100.0 * progress.share) as usize, 100), progress);
        }
    }

    /// What begins, such as opening the inputs: a line says so only if it takes long.
    pub(crate) fn announce(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        } else if let Ok(mut last) = self.last.lock() {
            let now = Instant::now();
            *last = Last { text: what.into(), new: now, printed: now, tenth: 0 };
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        } else if let Ok(mut last) = self.last.lock() {
            last.text.clear();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.end();
    }
}

impl PassWatch for Meter {
    fn progress(&self, progress: &PassProgress) {
        self.pass(progress);
    }
}

impl Last {
    fn print(&mut self, text: String, tenth: usize) {
        complain!("{text}");
        let now = Instant::now();
        *self = Self { text, new: now, printed: now, tenth };
    }
}

/// Repeats the last line while nothing new is known, as long as there is a meter.
fn repeat(last: &Weak<Mutex<Last>>) {
    loop {
        thread::sleep(INTERVAL / 10);
        let Some(last) = last.upgrade() else { return };
        let Ok(mut last) = last.lock() else { return };
        // After 10, 20, 40 seconds, and so on.
        if last.printed.elapsed() >= INTERVAL.max(last.printed - last.new) && !last.text.is_empty() {
            complain!("{}; still running {:.0} s later", last.text, last.new.elapsed().as_secs_f64());
            last.printed = Instant::now();
        }
    }
}
