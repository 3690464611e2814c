//! The fusion and the baselines on the same withheld values: what a report says of them.

use std::fmt;

use serde::Serialize;

use super::mask::WithheldKind;
use super::predictor::{Baseline, PredictionKind, Predictor};

/// Errors of the fusion and of baselines, all on the same withheld values of one kind.
///
/// Compared are the values that every row predicts. As long as these are less than half of those that the fusion
/// predicts, the baseline that exists for the fewest is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// How the values were withheld.
    pub kind: WithheldKind,
    /// The band of the instrument, or all bands.
    pub band: String,
    /// Number of values compared.
    pub values: u64,
    /// Number of values that the fusion predicts.
    pub of_values: u64,
    /// Which prediction of the fusion is judged: the one that it outputs, where that can be compared.
    pub fused: PredictionKind,
    /// The fusion first, then the baselines.
    pub rows: Vec<ComparedRow>,
    /// Baselines that exist for some values, but not for enough of them.
    pub left_out: Vec<LeftOut>,
}

/// Errors of one prediction, predicted minus observed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComparedRow {
    /// What predicts.
    pub predictor: Predictor,
    /// Whether it uses observations after the date.
    pub uses_later: bool,
    /// Root of the mean squared error, in u.
    pub rmse: f64,
    /// Mean error, in u.
    pub bias: f64,
    /// Mean absolute error, in u.
    pub mae: f64,
}

/// A prediction that exists for few values only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LeftOut {
    /// What predicts.
    pub predictor: Predictor,
    /// Number of values that it and the fusion predict.
    pub values: u64,
}

impl Comparison {
    /// The row of a prediction, where it is compared.
    #[must_use]
    pub fn row(&self, predictor: Predictor) -> Option<&ComparedRow> {
        self.rows.iter().find(|row| row.predictor == predictor)
    }

    /// The row of the baseline.
    #[must_use]
    pub fn baseline(&self, baseline: Baseline) -> Option<&ComparedRow> {
        self.row(Predictor::Baseline(baseline))
    }

    /// The baseline of the least RMSE; of those that use no later observations, or of all.
    #[must_use]
    pub fn best_baseline(&self, with_later: bool) -> Option<&ComparedRow> {
        let baselines = self.rows.iter().filter(|row| matches!(row.predictor, Predictor::Baseline(_)));
        baselines.filter(|row| with_later || !row.uses_later).min_by(|a, b| a.rmse.total_cmp(&b.rmse))
    }

    /// One sentence: RMSE of the fusion against that of the best baseline.
    pub(super) fn sentence(&self) -> Option<String> {
        let fused = self.row(Predictor::Fusion(self.fused))?;
        let kind = name(self.kind);
        let Some(best) = self.best_baseline(true) else {
            return Some(format!("{kind}: fused {:.4}, and no baseline to compare with", fused.rmse));
        };
        let against = |row: &ComparedRow| format!("{} {:.4}: {}", row.label(), row.rmse, lower(fused.rmse, row.rmse));
        let sentence = format!("{kind}: fused ({}) {:.4}, best baseline {}", self.fused, fused.rmse, against(best));
        // A fused value of the day of its date cannot know what linear interpolation does.
        let fair = self.best_baseline(false).filter(|_| best.uses_later && !fused.uses_later);
        Some(match fair {
            Some(fair) => format!("{sentence}; without later observations {}", against(fair)),
            None => sentence,
        })
    }
}

/// How much lower an RMSE is than another.
fn lower(fused: f64, other: f64) -> String {
    let percent = 100.0 * (fused / other - 1.0);
    let size = if percent.abs() < 10.0 { format!("{:.1} %", percent.abs()) } else { format!("{:.0} %", percent.abs()) };
    if fused < other {
        format!("{size} lower")
    } else if fused > other && percent.is_finite() {
        format!("NOT lower, but {size} higher")
    } else {
        "NOT lower".into()
    }
}

impl ComparedRow {
    /// What predicts, with a star where it uses later observations.
    fn label(&self) -> String {
        format!("{}{}", self.predictor, if self.uses_later { " *" } else { "" })
    }
}

/// In the report.
pub(super) fn name(kind: WithheldKind) -> &'static str {
    match kind {
        WithheldKind::Block => "blocks",
        WithheldKind::Date => "whole dates",
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { values, of_values, .. } = self;
        write!(f, "\n  {}, the same {values} values of {of_values}", name(self.kind))?;
        for LeftOut { predictor, values } in &self.left_out {
            write!(f, "; left out: {predictor}, of {values} values only")?;
        }
        for row in &self.rows {
            let (label, ComparedRow { rmse, bias, mae, .. }) = (row.label(), row);
            write!(f, "\n    {label:<26} {values:>10} {rmse:>10.5} {bias:>10.5} {mae:>10.5}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(rows: &[(Predictor, f64)], fused: PredictionKind) -> Comparison {
        let row = |&(predictor, rmse): &(Predictor, f64)| ComparedRow {
            predictor,
            uses_later: predictor.uses_later(),
            rmse,
            bias: 0.0,
            mae: 0.0,
        };
        let (kind, rows) = (WithheldKind::Date, rows.iter().map(row).collect());
        Comparison { kind, band: "red".into(), values: 1, of_values: 1, fused, rows, left_out: Vec::new() }
    }

    #[test]
    fn the_sentence_says_who_is_better_and_what_it_uses() {
        let [filtered, smoothed] = [PredictionKind::Filtered, PredictionKind::Smoothed].map(Predictor::Fusion);
        let [last, linear] = [Baseline::Last, Baseline::Linear].map(Predictor::Baseline);
        let sentence = |rows: &[(Predictor, f64)], fused| comparison(rows, fused).sentence().unwrap();
        assert_eq!(
            sentence(&[(filtered, 0.0113), (last, 0.0151), (linear, 0.016)], PredictionKind::Filtered),
            "whole dates: fused (filtered) 0.0113, best baseline last clear value 0.0151: 25 % lower"
        );
        assert_eq!(
            sentence(&[(filtered, 0.02), (last, 0.02), (linear, 0.0195)], PredictionKind::Filtered),
            "whole dates: fused (filtered) 0.0200, best baseline linear * 0.0195: NOT lower, but 2.6 % higher; \
             without later observations last clear value 0.0200: NOT lower"
        );
        assert_eq!(
            sentence(&[(filtered, 0.02), (smoothed, 0.01), (last, 0.02), (linear, 0.0)], PredictionKind::Smoothed),
            "whole dates: fused (smoothed) 0.0100, best baseline linear * 0.0000: NOT lower"
        );
        assert_eq!(
            sentence(&[(filtered, 0.02)], PredictionKind::Filtered),
            "whole dates: fused 0.0200, and no baseline to compare with"
        );
    }
}
