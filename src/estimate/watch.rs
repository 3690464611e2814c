//! Who follows an estimation, and may end it early.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use crate::source::PassProgress;

/// Follows an estimation: is shown how far it has come, and may end it early.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use rasterfuse::estimate::{EstimationProgress, Watch};
///
/// /// Set by another thread, or by a signal.
/// #[derive(Debug, Default)]
/// struct Button(AtomicBool);
///
/// impl Watch for Button {
///     fn progress(&self, progress: &EstimationProgress) {
///         eprintln!("{progress}");
///     }
///
///     fn stops(&self) -> bool {
///         self.0.load(Ordering::Relaxed)
///     }
/// }
/// ```
pub trait Watch: fmt::Debug + Sync {
    /// How far it has come: when a stage begins and after each evaluation of a search, from any of its threads.
    fn progress(&self, progress: &EstimationProgress) {
        let _ = progress;
    }

    /// How far a pass over all data has come: for a seasonal mean, or a map of change.
    fn pass(&self, progress: &PassProgress) {
        let _ = progress;
    }

    /// Whether to end with the best so far; asked before every step of a search, and before every read of a pass.
    fn stops(&self) -> bool {
        false
    }
}

/// Nobody.
impl Watch for () {}

/// How far an estimation has come.
///
/// Its text is one line. `serde` serialises it with the names of its fields, times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct EstimationProgress {
    /// The running stage, from 1, and how many there are.
    pub stage: (usize, usize),
    /// What it does.
    pub doing: String,
    /// Time since the first stage began; `elapsed_seconds` in JSON.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Time left, by the time that the steps taken so far took and how many searches usually take; `None` before the
    /// first step and in stages without a search. `remaining_seconds` in JSON.
    #[serde(rename = "remaining_seconds", serialize_with = "maybe_seconds")]
    pub remaining: Option<Duration>,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn maybe_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

impl fmt::Display for EstimationProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, stages) = self.stage;
        write!(f, "stage {stage} of {stages}, {}: {:.0} s", self.doing, self.elapsed.as_secs_f64())?;
        match self.remaining.map(|left| left.as_secs_f64()) {
            Some(left) if left >= 100.0 => write!(f, ", about {:.0} min left", (left / 60.0).ceil()),
            Some(left) => write!(f, ", about {:.0} s left", left.ceil()),
            None => Ok(()),
        }
    }
}

/// The stages of an estimation, one after the other.
#[derive(Debug)]
pub(super) struct Stages<'a> {
    watch: &'a dyn Watch,
    began: Instant,
    count: usize,
    stage: usize,
    /// Comparisons that have not begun.
    comparisons: usize,
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageKind {
    /// A structure is fitted to a part of the blocks.
    Comparison,
    /// The one chosen is fitted to all.
    Fit,
    /// Nothing is searched.
    Check,
}

/// What a comparison takes of the time of a fit: it looks at half of the blocks.
const COMPARED: f64 = 0.5;

impl<'a> Stages<'a> {
    /// Stages of which some are comparisons.
    pub(super) fn new(watch: &'a dyn Watch, count: usize, comparisons: usize) -> Self {
        Self { watch, began: Instant::now(), count, stage: 0, comparisons }
    }

    /// Begins the next stage, and shows that it has begun.
    pub(super) fn next(&mut self, doing: impl Into<String>, kind: StageKind) -> Stage<'a> {
        self.stage += 1;
        if kind == StageKind::Comparison {
            self.comparisons = self.comparisons.saturating_sub(1);
        }
        // Searches to come, in terms of this one.
        let whole = if kind == StageKind::Check { 0.0 } else { COMPARED * self.comparisons as f64 };
        let later = match kind {
            StageKind::Comparison => (whole + 1.0) / COMPARED,
            StageKind::Fit | StageKind::Check => 0.0,
        };
        let doing = doing.into();
        tracing::info!("{doing}");
        let of = (self.stage, self.count.max(self.stage));
        let expected = AtomicUsize::new(0);
        let stage = Stage { of, watch: self.watch, doing, began: self.began, entered: Instant::now(), later, expected };
        stage.show(0);
        stage
    }

    /// Passes over a comparison.
    pub(super) fn skip(&mut self) {
        self.stage += 1;
        self.comparisons = self.comparisons.saturating_sub(1);
    }

    pub(super) fn stops(&self) -> bool {
        self.watch.stops()
    }
}

/// A stage that is running.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    watch: &'a dyn Watch,
    of: (usize, usize),
    doing: String,
    /// When the estimation began, and the stage.
    began: Instant,
    entered: Instant,
    /// Time of the searches to come, in terms of this one's.
    later: f64,
    /// Likelihoods of single blocks that it is likely to take; 0 while that is not known.
    expected: AtomicUsize,
}

impl Stage<'_> {
    /// One that nobody watches.
    pub(super) fn unwatched() -> Stage<'static> {
        let now = Instant::now();
        Stage {
            of: (1, 1),
            watch: &(),
            doing: String::new(),
            began: now,
            entered: now,
            later: 0.0,
            expected: AtomicUsize::new(0),
        }
    }

    /// How many likelihoods of single blocks it is likely to take.
    pub(super) fn expect(&self, likelihoods: usize) {
        self.expected.store(likelihoods, Ordering::Relaxed);
    }

    /// Shows that it has taken so many likelihoods of single blocks.
    pub(super) fn show(&self, done: usize) {
        let elapsed = self.entered.elapsed().as_secs_f64();
        // A search that is longer than usual may end with any step.
        let usual = self.expected.load(Ordering::Relaxed);
        let expected = usual.max(done + done / 10);
        let whole = elapsed * expected as f64 / done as f64;
        let left = whole * (1.0 + self.later) - elapsed;
        self.watch.progress(&EstimationProgress {
            stage: self.of,
            doing: self.doing.clone(),
            elapsed: self.began.elapsed(),
            remaining: if done == 0 || usual == 0 { None } else { Duration::try_from_secs_f64(left).ok() },
        });
    }

    pub(super) fn stops(&self) -> bool {
        self.watch.stops()
    }
}
