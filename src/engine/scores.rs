use std::fmt;

/// How far a run lies from the truth of a simulated scene ([`JudgedSink`](crate::sink::JudgedSink)).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Scores {
    /// By component of the spectral basis, where components were put out and the truth is one of components.
    pub components: Vec<Score>,
    /// By band.
    pub bands: Vec<Score>,
}

/// How far a component or band lies from the truth, over cells and dates.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// Its name.
    pub name: String,
    /// Values compared.
    pub values: u64,
    /// Values whose truth is known and that are NaN.
    pub missing: u64,
    /// Root of the mean squared error, in u.
    pub rmse: f64,
    /// Mean error, in u.
    pub bias: f64,
    /// Share of the truth inside the 90 % interval, mean ± 1.645 standard deviations.
    pub coverage: f64,
    /// Root of the mean stated variance, in u: equal to `rmse` when uncertainty is calibrated.
    pub rms_sd: f64,
}

/// Bands listed one by one at most; of more, the range.
const LISTED: usize = 12;

impl Scores {
    /// All bands together; `None` without any.
    #[must_use]
    pub fn all_bands(&self) -> Option<Score> {
        pooled("all bands", &self.bands)
    }
}

fn pooled(name: &str, scores: &[Score]) -> Option<Score> {
    let sum = |of: &dyn Fn(&Score) -> f64| scores.iter().filter(|score| score.values > 0).map(of).sum::<f64>();
    let n = sum(&|score| score.values as f64);
    (n > 0.0).then(|| {
        let mean = |of: &dyn Fn(&Score) -> f64| sum(&|score| of(score) * score.values as f64) / n;
        Score {
            name: name.into(),
            values: n as u64,
            missing: scores.iter().map(|score| score.missing).sum(),
            rmse: mean(&|score| score.rmse.powi(2)).sqrt(),
            bias: mean(&|score| score.bias),
            coverage: mean(&|score| score.coverage),
            rms_sd: mean(&|score| score.rms_sd.powi(2)).sqrt(),
        }
    })
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, values, missing, rmse, bias, coverage, rms_sd } = self;
        write!(f, "{name:<16} {values:>12} {rmse:>12.6} {rms_sd:>12.6} {bias:>12.6} {:>9.2} %", 100.0 * coverage)?;
        if *missing > 0 {
            write!(f, "   {missing} missing")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>12} {:>12} {:>12} {:>12} {:>11}",
            "truth", "values", "RMSE", "stated sd", "bias", "in 90 %"
        )?;
        self.components.iter().try_for_each(|score| writeln!(f, "{score}"))?;
        if self.bands.len() <= LISTED {
            self.bands.iter().try_for_each(|score| writeln!(f, "{score}"))?;
        }
        let Some(all) = self.all_bands() else { return write!(f, "nothing to compare") };
        write!(f, "{all}")?;
        if self.bands.len() > LISTED {
            let range = |of: &dyn Fn(&Score) -> f64| {
                let values = || self.bands.iter().filter(|score| score.values > 0).map(of);
                (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
            };
            let (rmse, coverage) = (range(&|score| score.rmse), range(&|score| 100.0 * score.coverage));
            write!(
                f,
                "\nband by band: RMSE {:.6} to {:.6}, {:.2} to {:.2} % inside",
                rmse.0, rmse.1, coverage.0, coverage.1
            )?;
        }
        Ok(())
    }
}
