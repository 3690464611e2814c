//! The state of one window: mean, covariance, lagged states and history.

use std::ops::Range;

use super::history::History;
use super::lag::{Lagged, Lags};
use super::{Dynamics, Real, SymmetricMatrix};

/// Mean and covariance of the state of one window; with lags, also of some states at earlier times.
///
/// Several means may share the covariance ([`with_parallel`](Self::with_parallel)). The means are float64, the
/// covariance of type `T`.
#[derive(Clone, Debug, PartialEq)]
pub struct State<T: Real = f64> {
    /// Mean; with further means, that of column 0. **Shape** (states).
    pub mean: Vec<f64>,
    /// Further means with the same covariance: columns 1, 2, …; usually empty. **Shape** (further columns, states).
    pub parallel: Vec<f64>,
    /// Covariance. **Shape** (states, states).
    pub cov: SymmetricMatrix<T>,
    pub(super) lags: Lags<T>,
    pub(super) history: Option<History>,
    /// Factor on the standard deviation of each state's change, where it depends on level or position; otherwise
    /// empty.
    pub(super) factors: Vec<f64>,
}

/// A copy of a state before an update; its memory is reused.
#[derive(Clone, Debug, Default)]
pub struct Saved<T> {
    values: Vec<T>,
    wide: Vec<f64>,
}

impl State {
    /// A state of `n` zeros with zero covariance.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let (mean, cov) = (vec![0.0; n], SymmetricMatrix::zeros(n));
        Self { mean, parallel: Vec::new(), cov, lags: Lags::none(), history: None, factors: Vec::new() }
    }
}

impl<T: Real> State<T> {
    /// Number of states.
    #[must_use]
    pub fn n(&self) -> usize {
        self.mean.len()
    }

    /// The same state with its covariances in another type.
    #[must_use]
    pub fn cast<U: Real>(&self) -> State<U> {
        State {
            mean: self.mean.clone(),
            parallel: self.parallel.clone(),
            cov: self.cov.cast(),
            lags: self.lags.cast(),
            history: self.history.clone(),
            factors: self.factors.clone(),
        }
    }

    /// Stores some states at up to `lag` earlier times (see [`remember`](Self::remember)), for fixed-lag smoothing.
    /// `ranges`, of equal length, select these states. Covariances between states at the same position of each range
    /// are stored as well.
    ///
    /// # Panics
    /// When the ranges differ in length or extend beyond the state.
    #[must_use]
    pub fn with_lags(mut self, ranges: Vec<Range<usize>>, lag: usize) -> Self {
        assert!(ranges.windows(2).all(|pair| pair[0].len() == pair[1].len()), "ranges of equal length");
        assert!(ranges.iter().all(|range| range.end <= self.n()), "ranges within the state");
        let further = self.further();
        self.lags = Lags::new(self.n(), ranges, lag);
        self.lags.set_further(further);
        self
    }

    /// Adds weighted states to each lagged state, in the order of the ranges. The sums are stored instead of the
    /// states.
    ///
    /// # Panics
    /// When the number of sums differs from the number of lagged states, or a sum refers to a state that does not
    /// exist.
    #[must_use]
    pub fn with_lagged_sums(mut self, further: Vec<Vec<(usize, f64)>>) -> Self {
        assert!(further.iter().flatten().all(|(state, _)| *state < self.n()), "sums within the state");
        self.lags.add_terms(further);
        self
    }

    /// Makes the process covariance of the first `blocks` blocks of `dynamics` depend on the history of the states:
    /// `Q ← weight Q + (1 - weight) Q_x`. In `Q_x`, states with similar histories change in a similar way; `scale` is
    /// the length scale `ℓ_x` of similarity in u.
    ///
    /// `Q_x(s, s') = σ_s σ_s' exp(-d / ℓ_x) + 1e-10 [s = s']`, where `d` is the distance between the
    /// precision-weighted histories of filtered means over the dates with observations. Components are independent.
    ///
    /// # Panics
    /// When the dynamics have another size or fewer blocks, when `weight` is not in [0, 1], when `scale` is not
    /// positive, or when the state has parallel means: their histories differ, and one covariance serves all.
    #[must_use]
    pub fn with_history(mut self, dynamics: &Dynamics, blocks: usize, weight: f64, scale: f64) -> Self {
        assert_eq!(dynamics.n(), self.n(), "the dynamics of this state");
        assert!(blocks <= dynamics.blocks().len(), "blocks of the dynamics");
        assert!(self.parallel.is_empty(), "no parallel means");
        assert!((0.0..=1.0).contains(&weight) && scale > 0.0, "a weight in [0, 1], a positive scale");
        self.history = Some(History::new(&dynamics.blocks()[..blocks], weight, scale));
        self
    }

    /// Stores the current values of the lagged states. The oldest time is dropped when `lag` times are stored.
    ///
    /// Later predictions and updates include them: [`lagged_at`](Self::lagged_at) is always conditional on all
    /// observations so far.
    pub fn remember(&mut self) {
        self.lags.remember(&self.mean, &self.parallel, &self.cov);
    }

    /// The lagged states at the `k`-th stored time, counted from the oldest, given all observations so far.
    #[must_use]
    pub fn lagged_at(&self, k: usize) -> Option<Lagged<'_>> {
        self.lags.lagged_at(k)
    }

    /// Number of stored times.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.lags.len()
    }

    /// Largest number of stored times.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.lags.capacity()
    }

    /// Copies the parts that [`update`](Self::update) changes.
    pub fn save(&self, saved: &mut Saved<T>) {
        saved.values.clear();
        saved.wide.clear();
        saved.wide.extend_from_slice(&self.mean);
        saved.wide.extend_from_slice(&self.parallel);
        self.cov.save(&mut saved.values);
        self.lags.save(&mut saved.values, &mut saved.wide);
    }

    /// Undoes an update, including one that failed half-way: the state is again as it was [saved](Self::save).
    ///
    /// # Panics
    /// When the saved copy is of another state.
    pub fn restore(&mut self, saved: &Saved<T>) {
        let (mean, wide) = saved.wide.split_at(self.mean.len());
        self.mean.copy_from_slice(mean);
        let (parallel, wide) = wide.split_at(self.parallel.len());
        self.parallel.copy_from_slice(parallel);
        let rest = self.cov.restore(&saved.values);
        self.lags.restore(rest, wide);
    }

    /// Rows of scratch memory for updates: the states and the lagged ones.
    pub(super) fn rows(&self) -> usize {
        self.n() + self.lags.most_rows()
    }

    /// Whether no update can fail for lack of digits, when variances stay below `ratio` times the smallest noise
    /// variance and at most `pixels` pixels are observed until a state is dropped (on one date, or while it is
    /// lagged).
    #[must_use]
    pub fn always_fits(ratio: f64, pixels: usize) -> bool {
        // Each pixel adds at most the information of its least noisy combination of bands.
        let piled = 1.0 + ratio * pixels as f64;
        ratio <= T::LARGEST_RATIO && ratio <= T::LARGEST_CONDITION && piled * T::LEAST_VARIANCE_RATIO <= 1.0
    }

    /// Memory of a state of `n` entries with `lagged` of them stored at `lag` times.
    #[must_use]
    pub fn bytes(n: usize, lagged: usize, lag: usize) -> u64 {
        // Columns are padded to full cache lines. Each lagged state has three more numbers.
        let column = (lag * lagged * size_of::<T>()).next_multiple_of(64);
        let cross = column as u64 * n as u64;
        let small = (n + lag * lagged * 3) * size_of::<f64>();
        SymmetricMatrix::<T>::bytes(n).saturating_add(cross).saturating_add(small as u64)
    }

    /// Memory of a history of `n` states in blocks of `len`.
    #[must_use]
    pub fn history_bytes(n: usize, len: usize) -> u64 {
        History::bytes(n, len) as u64
    }

    /// Predicted mean of state `i`, `dt_days` ahead. The state is unchanged.
    #[must_use]
    pub fn predicted_mean(&self, dynamics: &Dynamics, i: usize, dt_days: f64) -> f64 {
        dynamics.transition(i, dt_days) * self.mean[i]
    }

    /// Predicted covariance of states `i` and `j`, `dt_days` ahead: entry (i, j) of the result of
    /// [`predict`](Self::predict). The state is unchanged.
    #[must_use]
    pub fn predicted_cov(&self, dynamics: &Dynamics, i: usize, j: usize, dt_days: f64) -> f64 {
        let decayed = dynamics.transition(i, dt_days) * dynamics.transition(j, dt_days) * self.cov.get(i, j);
        let added = dynamics.process_cov(self.history.as_ref(), i, j, dt_days);
        decayed + if self.factors.is_empty() { added } else { self.factors[i] * self.factors[j] * added }
    }
}
