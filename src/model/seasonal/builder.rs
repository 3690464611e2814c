//! Settings of a seasonal mean.

use crate::error::{Error, Result};
use crate::seasonal::{Harmonics, YEAR_DAYS};

/// Largest number of harmonics. With more, the curve of a year follows the weather.
const MOST_HARMONICS: usize = 6;

/// Largest number of passes. Weights converge within a few.
const MOST_PASSES: usize = 100;

/// Largest radius of the neighbourhood, in cells.
const WIDEST_RADIUS: usize = 256;

/// Neighbouring cells that support a cell with little data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neighbours {
    /// Radius in cells.
    pub(super) radius: usize,
    /// Weight of their common curve, in observations.
    pub(super) strength: f64,
}

/// Collects how a [`SeasonalMean`](crate::seasonal::SeasonalMean) is fitted; [`fit`](Self::fit) makes it.
///
/// For each component (target band), the coefficients `c` of a cell minimise
///
/// `Σ_t w_t (y_t − φ_tᵀ c)² + ρ Σ_h h² |c_h − c̄_h|² + ν |c − c̄|²`
///
/// over its observations `y_t` on dates with the terms `φ_t` of the [`Harmonics`]. `c_h` are the two coefficients of
/// harmonic `h`; with the factor `h²` the penalty is that on the mean squared slope of the curve. `ρ`
/// ([`ridge`](Self::ridge)) and `ν` ([`neighbours`](Self::neighbours)) are in observations, so their meaning does not
/// depend on the unit and the scatter of the data. `c̄` is the curve of the neighbourhood: the same minimum for the
/// averaged sums of all surrounding cells that have data, where cells `d` rows (and, likewise, columns) away have the
/// weight `(1 − d²/(radius + 1)²)²`, shrunk by `ρ` towards the curve of the scene. The curve of the scene is the
/// minimum for the scene's average of each date, weighted by the observed share of the scene. Where a cell has no
/// data in a season, its neighbours decide, and then the scene.
///
/// Weights are 1 in the first pass. Each further pass lowers those of outlying observations, `w = (κ + 1)/(κ +
/// r²/σ²)` with the residual `r` from the curve of the previous pass and `κ` the degrees of freedom of
/// [`robust`](Self::robust): the EM algorithm for errors that follow Student's t (Lange, Little and Taylor, *Journal
/// of the American Statistical Association* 84, 1989), for which sums in constant memory suffice. `σ²` is `Σ w r² / Σ
/// w` of the cell and, with the weight of `ν` observations, of the neighbourhood. Dividing by the sum of weights
/// instead of their number makes the passes few (Meng and van Dyk, *Journal of the Royal Statistical Society* B 59,
/// 1997).
#[derive(Clone, Debug)]
pub struct SeasonalBuilder {
    pub(super) harmonics: usize,
    pub(super) period_days: f64,
    pub(super) ridge: f64,
    pub(super) robust: Option<f64>,
    pub(super) passes: usize,
    pub(super) neighbours: Option<Neighbours>,
    pub(super) memory_bytes: u64,
}

impl Default for SeasonalBuilder {
    fn default() -> Self {
        Self {
            harmonics: 2,
            period_days: YEAR_DAYS,
            ridge: 3.0,
            robust: Some(4.0),
            passes: 4,
            neighbours: Some(Neighbours { radius: 4, strength: 4.0 }),
            memory_bytes: 512 << 20,
        }
    }
}

impl SeasonalBuilder {
    /// Number of harmonics. Default: 2. Harmonic `h` resolves variation that lasts longer than a period / (2h).
    #[must_use]
    pub fn harmonics(mut self, count: usize) -> Self {
        self.harmonics = count;
        self
    }

    /// The period in days. Default: 365.2425, a year.
    #[must_use]
    pub fn period_days(mut self, days: f64) -> Self {
        self.period_days = days;
        self
    }

    /// Strength, in observations, of the shrinkage of a cell's harmonics towards those of the neighbourhood (of these
    /// towards the scene's, and of the scene's towards zero). Default: 3.
    #[must_use]
    pub fn ridge(mut self, observations: f64) -> Self {
        self.ridge = observations;
        self
    }

    /// Degrees of freedom of the heavy tails of the errors; smaller for more undetected clouds. Default: 4. `None`:
    /// ordinary least squares, in one pass.
    #[must_use]
    pub fn robust(mut self, degrees: impl Into<Option<f64>>) -> Self {
        self.robust = degrees.into();
        self
    }

    /// Number of passes over the data for the cells' curves where the fit is [robust](Self::robust). Default: 4.
    #[must_use]
    pub fn passes(mut self, passes: usize) -> Self {
        self.passes = passes;
        self
    }

    /// Gives the curve of the surrounding cells, up to `radius` rows and columns away, the weight of this number of
    /// observations in each cell. Default: 4 cells and 4 observations.
    #[must_use]
    pub fn neighbours(mut self, radius: usize, observations: f64) -> Self {
        self.neighbours = Some(Neighbours { radius, strength: observations });
        self
    }

    /// Fits each cell separately. Its harmonics are then shrunk towards those of the scene.
    #[must_use]
    pub fn without_neighbours(mut self) -> Self {
        self.neighbours = None;
        self
    }

    /// Memory for the sums and values of the tile that is being fitted. Default: 512 MiB. It does not change the
    /// result.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// The harmonics to fit, without coefficients.
    pub(super) fn curve(&self) -> Harmonics {
        Harmonics::new(self.harmonics, self.period_days)
    }

    /// Number of passes over the data for the cells' curves.
    pub(super) fn rounds(&self) -> usize {
        if self.robust.is_some() { self.passes } else { 1 }
    }

    /// Refuses numbers that cannot work.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |key: &str, problem: String| Err(Error::setting(format!("seasonal.{key}"), problem));
        let positive = |value: f64| value > 0.0 && value.is_finite();
        if !(1..=MOST_HARMONICS).contains(&self.harmonics) {
            return refuse("harmonics", format!("{}; give 1 to {MOST_HARMONICS}", self.harmonics));
        }
        if !positive(self.period_days) {
            return refuse("period_days", format!("{} must be positive, as {YEAR_DAYS} is", self.period_days));
        }
        if !positive(self.ridge) {
            let problem = "must be positive: without it cells with few dates have no unique curve; give a small number";
            return refuse("ridge", format!("{} {problem}", self.ridge));
        }
        if let Some(degrees) = self.robust.filter(|degrees| !positive(*degrees)) {
            return refuse(
                "robust",
                format!("{degrees} must be positive, as 4 is; leave it out for plain least squares"),
            );
        }
        if !(1..=MOST_PASSES).contains(&self.passes) {
            return refuse("passes", format!("{}; give 1 to {MOST_PASSES}", self.passes));
        }
        if let Some(Neighbours { radius, strength }) = self.neighbours {
            if !(1..=WIDEST_RADIUS).contains(&radius) {
                return refuse("neighbours", format!("a radius of {radius} cells; give 1 to {WIDEST_RADIUS}, or none"));
            }
            if !positive(strength) {
                let problem = "must be positive; without neighbours each cell is fitted separately";
                return refuse("neighbours", format!("{strength} observations {problem}"));
            }
        }
        Ok(())
    }
}
