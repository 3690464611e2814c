//! Progress of a run.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Progress of a run.
///
/// Its text is one line. `serde` serialises it with the names of its fields, `elapsed_seconds` and
/// `remaining_seconds`, for logs and dashboards.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Finished tiles and their total; tiles that an earlier run finished are not included.
    pub tiles: (usize, usize),
    /// Fused dates and their total, each counted once for every tile.
    pub dates: (usize, usize),
    /// Number of written blocks (tile × date).
    pub blocks: usize,
    /// Values that windows have assimilated, each counted once for every window.
    pub observations: u64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// Slices for which filtering is waiting, when the wait is long.
    pub waiting_for: Option<String>,
}

impl Progress {
    /// Observations per second; 0 at the start.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.observations as f64 / self.elapsed.as_secs_f64() }
    }

    /// Remaining time, extrapolated from the progress so far; `None` at the start.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let (done, all) = self.dates;
        let share = all.saturating_sub(done) as f64 / done as f64;
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * share).ok()
    }
}

/// What is called with the progress of a run.
pub(crate) type Listener<'a> = &'a (dyn Fn(&Progress) + Sync);

/// Time between calls within a batch.
const INTERVAL: Duration = Duration::from_secs(1);

/// Progress of the windows within a batch of dates, which may take minutes: their threads call this at most once a second.
pub(super) struct Within<'a> {
    callback: Option<Listener<'a>>,
    /// Before the batch.
    before: Progress,
    started: Instant,
    /// Dates of the batch.
    dates: usize,
    called: Mutex<Instant>,
}

impl<'a> Within<'a> {
    /// Of a run that began at `started` and has come so far.
    pub(super) fn new(callback: Option<Listener<'a>>, before: Progress, started: Instant, dates: usize) -> Self {
        Self { callback, before, started, dates, called: Mutex::new(Instant::now()) }
    }

    /// Of a run that nobody follows.
    pub(super) fn unwatched() -> Self {
        Self::new(None, Progress::default(), Instant::now(), 0)
    }

    /// After a share of the windows, from 0 to 1, has passed the batch.
    pub(super) fn show(&self, share: f64) {
        let (Some(callback), Ok(mut called)) = (self.callback, self.called.try_lock()) else { return };
        if called.elapsed() < INTERVAL {
            return;
        }
        *called = Instant::now();
        let dates = (self.before.dates.0 + (share * self.dates as f64) as usize, self.before.dates.1);
        callback(&Progress { dates, elapsed: self.started.elapsed(), ..self.before.clone() });
    }
}

/// Times in seconds.
impl Serialize for Progress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { tiles, dates, blocks, observations, elapsed, waiting_for } = self;
        let mut progress = serializer.serialize_struct("Progress", 7)?;
        progress.serialize_field("tiles", tiles)?;
        progress.serialize_field("dates", dates)?;
        progress.serialize_field("blocks", blocks)?;
        progress.serialize_field("observations", observations)?;
        progress.serialize_field("elapsed_seconds", &elapsed.as_secs_f64())?;
        progress.serialize_field("remaining_seconds", &self.remaining().map(|left| left.as_secs_f64()))?;
        progress.serialize_field("waiting_for", waiting_for)?;
        progress.end()
    }
}

/// A duration in a suitable unit.
pub(super) fn spoken(time: Duration) -> String {
    match time.as_secs_f64() {
        0.0 => "0 s".into(),
        seconds if seconds < 1.0 => format!("{seconds:.3} s"),
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((tile, tiles), (done, all)) = (self.tiles, self.dates);
        write!(f, "{tile} of {tiles} tiles, {done} of {all} tile dates")?;
        if self.observations > 0 {
            write!(f, ", {:.3e} observations/s", self.rate())?;
        }
        if let Some(remaining) = self.remaining() {
            write!(f, ", {} left", spoken(remaining))?;
        }
        match &self.waiting_for {
            Some(what) => write!(f, "; waiting for {what}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_show_shares_of_their_dates() {
        let shown = Mutex::new(Vec::new());
        let listen = |progress: &Progress| shown.lock().unwrap().push(progress.dates);
        let before = Progress { dates: (8, 24), ..Progress::default() };
        let mut within = Within::new(Some(&listen), before, Instant::now(), 8);
        // Too soon after the batch began.
        within.show(0.5);
        within.called = Mutex::new(Instant::now().checked_sub(INTERVAL).unwrap());
        within.show(0.8);
        within.show(0.9);
        assert_eq!(*shown.lock().unwrap(), [(14, 24)]);
    }

    #[test]
    fn times_have_units_that_fit() {
        for (seconds, text) in
            [(0.0, "0 s"), (0.0123, "0.012 s"), (1.23, "1.2 s"), (119.0, "119 s"), (600.0, "10 min"), (9000.0, "2.5 h")]
        {
            assert_eq!(spoken(Duration::from_secs_f64(seconds)), text);
        }
    }

    #[test]
    fn time_left_follows_from_what_is_done() {
        let mut progress = Progress { dates: (0, 8), elapsed: Duration::from_secs(6), ..Progress::default() };
        assert_eq!((progress.remaining(), Progress::default().rate()), (None, 0.0));
        progress.dates.0 = 2;
        assert_eq!(progress.remaining(), Some(Duration::from_secs(18)));
        let json = serde_json::to_value(&progress).unwrap();
        assert_eq!((&json["dates"], &json["remaining_seconds"]), (&serde_json::json!([2, 8]), &18.0.into()));
    }
}
