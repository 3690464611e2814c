//! Passes over the data that take long: how far they have come, and who may end them early.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Follows passes over the data: is shown how far they have come, and may end them early.
///
/// ```
/// use rasterfuse::source::{PassProgress, PassWatch};
///
/// #[derive(Debug)]
/// struct Lines;
///
/// impl PassWatch for Lines {
///     fn progress(&self, progress: &PassProgress) {
///         eprintln!("{progress}"); // curves of cells: 40 %, 12 s, about 18 s left
///     }
/// }
/// ```
pub trait PassWatch: fmt::Debug + Sync {
    /// How far a pass has come, after every region that is read on a date.
    fn progress(&self, progress: &PassProgress) {
        let _ = progress;
    }

    /// Whether to end with [`Error::Interrupted`]; asked before every read.
    fn stops(&self) -> bool {
        false
    }
}

/// Nobody.
impl PassWatch for () {}

/// How far a pass over the data has come. Its text is one line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PassProgress {
    /// What the pass is for.
    pub doing: &'static str,
    /// Share that is done, from 0 to 1.
    pub share: f64,
    /// Time since the pass began.
    pub elapsed: Duration,
}

impl PassProgress {
    /// Remaining time, extrapolated from the progress so far; `None` at the start.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - self.share) / self.share).ok()
    }
}

impl fmt::Display for PassProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { doing, share, elapsed } = self;
        write!(f, "{doing}: {:.0} %, {:.0} s", (100.0 * share).floor(), elapsed.as_secs_f64())?;
        match self.remaining().map(|left| left.as_secs_f64().ceil()) {
            Some(left) if left >= 120.0 => write!(f, ", about {:.0} min left", (left / 60.0).ceil()),
            Some(left) => write!(f, ", about {left:.0} s left"),
            None => Ok(()),
        }
    }
}

/// A pass of known length.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    watch: &'a dyn PassWatch,
    doing: &'static str,
    /// Pixels to be read, each once for every date and reading.
    all: u64,
    done: AtomicU64,
    began: Instant,
}

impl<'a> Pass<'a> {
    pub(crate) fn new(watch: &'a dyn PassWatch, doing: &'static str, all: u64) -> Self {
        Self { watch, doing, all, done: AtomicU64::new(0), began: Instant::now() }
    }

    /// One that nobody follows.
    pub(crate) fn unwatched() -> Pass<'static> {
        Pass::new(&(), "", 0)
    }

    /// Before so many pixels are read.
    ///
    /// # Errors
    /// [`Error::Interrupted`] where the watch ends the pass.
    pub(crate) fn read(&self, pixels: usize) -> Result<()> {
        if self.watch.stops() {
            return Err(Error::Interrupted);
        }
        let done = self.done.fetch_add(pixels as u64, Ordering::Relaxed);
        let share = if self.all == 0 { 0.0 } else { (done as f64 / self.all as f64).min(1.0) };
        self.watch.progress(&PassProgress { doing: self.doing, share, elapsed: self.began.elapsed() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Ends a pass at its third reading.
    #[derive(Debug, Default)]
    struct Impatient(Mutex<Vec<String>>);

    impl PassWatch for Impatient {
        fn progress(&self, progress: &PassProgress) {
            self.0.lock().unwrap().push(format!("{} {:.2}", progress.doing, progress.share));
        }

        fn stops(&self) -> bool {
            self.0.lock().unwrap().len() == 2
        }
    }

    #[test]
    fn who_watches_sees_shares_and_ends_a_pass() -> Result<()> {
        let watch = Impatient::default();
        let pass = Pass::new(&watch, "reading", 16);
        pass.read(4)?;
        pass.read(12)?;
        assert!(matches!(pass.read(0), Err(Error::Interrupted)));
        assert_eq!(*watch.0.lock().unwrap(), ["reading 0.00", "reading 0.25"]);
        Ok(())
    }

    #[test]
    fn progress_is_a_line_with_the_time_left() {
        let at = |share: f64, seconds: f64| {
            PassProgress { doing: "curves of cells", share, elapsed: Duration::from_secs_f64(seconds) }.to_string()
        };
        assert_eq!(at(0.0, 0.0), "curves of cells: 0 %, 0 s");
        assert_eq!(at(0.25, 10.0), "curves of cells: 25 %, 10 s, about 30 s left");
        assert_eq!(at(0.1, 60.0), "curves of cells: 10 %, 60 s, about 9 min left");
    }
}
