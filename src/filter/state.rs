use super::{Dynamics, SymmetricMatrix};

/// Mean and covariance of one window's state.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Mean. **Shape** (states).
    pub mean: Vec<f64>,
    /// Covariance. **Shape** (states, states).
    pub cov: SymmetricMatrix,
}

impl State {
    /// A state of `n` zeros with zero covariance.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self { mean: vec![0.0; n], cov: SymmetricMatrix::zeros(n) }
    }

    /// Number of states.
    #[must_use]
    pub fn n(&self) -> usize {
        self.mean.len()
    }

    /// Predicted mean of state `i`, `dt_days` from now, without touching the state.
    #[must_use]
    pub fn predicted_mean(&self, dynamics: &Dynamics, i: usize, dt_days: f64) -> f64 {
        dynamics.transition(i, dt_days) * self.mean[i]
    }

    /// Predicted covariance of states `i` and `j`, `dt_days` from now, without touching the state:
    /// the same value [`predict`](Self::predict) would leave at (i, j).
    #[must_use]
    pub fn predicted_cov(&self, dynamics: &Dynamics, i: usize, j: usize, dt_days: f64) -> f64 {
        let kept = dynamics.transition(i, dt_days) * dynamics.transition(j, dt_days) * self.cov.get(i, j);
        kept + dynamics.process_cov(i, j, dt_days)
    }
}
