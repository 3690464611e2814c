//! Sums of the errors of fusion and baselines, kept apart by which of them exist.

use std::collections::BTreeMap;

use super::evidence::BASELINES;
use crate::series::ErrorSums;
use crate::validate::comparison::{ComparedRow, Comparison, LeftOut};
use crate::validate::mask::WithheldKind;
use crate::validate::predictor::{Baseline, PredictionKind, Predictor};

/// Predictions of the fusion, by windows and as output, then the baselines.
pub(super) const PREDICTIONS: usize = 2 + BASELINES;

/// Positions of the predictions of the fusion.
pub(super) const WINDOW: usize = 0;
pub(super) const OUTPUT: usize = 1;

/// A set of predictions, by their positions.
type Set = u8;

type Sums = [ErrorSums; PREDICTIONS];

/// The errors of an instrument's withheld values.
///
/// Which predictions are to be compared is known at the end only. So values that the same predictions exist for have
/// sums of their own: those of all values that some predictions exist for are the sums of these.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<(WithheldKind, usize), BTreeMap<Set, Sums>>);

impl Tally {
    /// Adds the errors of a value; NaN for predictions that do not exist.
    pub(super) fn add(&mut self, kind: WithheldKind, band: usize, errors: [f64; PREDICTIONS]) {
        let exists = |position: &usize| !errors[*position].is_nan();
        let set = (0..PREDICTIONS).filter(exists).fold(0, |set, position| set | of(position));
        let sums = self.0.entry((kind, band)).or_default().entry(set).or_default();
        for (sums, error) in sums.iter_mut().zip(errors).filter(|(_, error)| !error.is_nan()) {
            sums.add(error);
        }
    }

    /// The comparison of one kind, over one band or all; `None` where the fusion predicts nothing. `fused` is the
    /// prediction of the fusion that is judged, `output` what its output is.
    pub(super) fn comparison(
        &self,
        kind: WithheldKind,
        (band, name): (Option<usize>, String),
        fused: usize,
        output: PredictionKind,
    ) -> Option<Comparison> {
        let mut by_set: BTreeMap<Set, Sums> = BTreeMap::new();
        for (_, sets) in self.0.iter().filter(|((k, b), _)| *k == kind && band.is_none_or(|band| band == *b)) {
            for (set, sums) in sets {
                let all = by_set.entry(*set).or_default();
                all.iter_mut().zip(sums).for_each(|(all, sums)| all.merge(sums));
            }
        }
        let sums_of = |wanted: Set, position: usize| {
            let mut all = ErrorSums::default();
            by_set.iter().filter(|(set, _)| **set & wanted == wanted).for_each(|(_, sums)| all.merge(&sums[position]));
            all
        };
        let count = |wanted: Set| sums_of(wanted, fused).values();
        let of_values = count(of(fused));
        if of_values == 0 {
            return None;
        }
        let together = |position: usize| count(of(fused) | of(position));
        let mut shown: Vec<usize> = (0..PREDICTIONS).filter(|&position| together(position) > 0).collect();
        let set = |shown: &[usize]| shown.iter().fold(of(fused), |set, &position| set | of(position));
        let mut left_out = Vec::new();
        while 2 * count(set(&shown)) < of_values {
            let others = (0..shown.len()).filter(|&k| shown[k] != fused);
            let Some(rarest) = others.min_by_key(|&k| together(shown[k])) else { break };
            let position = shown.remove(rarest);
            left_out.push(LeftOut { predictor: predictor(position, output), values: together(position) });
        }
        let common = set(&shown);
        let row = |&position: &usize| {
            let (predictor, sums) = (predictor(position, output), sums_of(common, position));
            let (rmse, bias, mae) = (sums.rmse(), sums.bias(), sums.mae());
            ComparedRow { predictor, uses_later: predictor.uses_later(), rmse, bias, mae }
        };
        let (values, rows) = (count(common), shown.iter().map(row).collect());
        let fused = if fused == WINDOW { PredictionKind::Filtered } else { output };
        Some(Comparison { kind, band: name, values, of_values, fused, rows, left_out })
    }

    /// Whether what is output was compared.
    pub(super) fn has_output(&self) -> bool {
        self.0.values().flat_map(BTreeMap::keys).any(|set| set & of(OUTPUT) != 0)
    }
}

fn of(position: usize) -> Set {
    1 << position
}

fn predictor(position: usize, output: PredictionKind) -> Predictor {
    match position {
        WINDOW => Predictor::Fusion(PredictionKind::Filtered),
        OUTPUT => Predictor::Fusion(output),
        _ => Predictor::Baseline(Baseline::ALL[position - 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NAN;

    #[test]
    fn rows_are_of_the_values_that_all_of_them_predict() {
        let mut tally = Tally::default();
        let mut add = |errors| tally.add(WithheldKind::Block, 0, errors);
        // Windows, output, last, linear, and what follows.
        (0..3).for_each(|_| add([1.0, NONE, 3.0, 2.0, NONE, NONE, NONE, NONE]));
        add([7.0, NONE, NONE, 5.0, NONE, NONE, NONE, NONE]);
        add([9.0, NONE, NONE, NONE, 4.0, NONE, NONE, NONE]);
        add([NONE, NONE, 8.0, 8.0, 8.0, 8.0, NONE, NONE]);
        let comparison = |fused: usize, band| {
            tally.comparison(WithheldKind::Block, (band, String::new()), fused, PredictionKind::Smoothed)
        };
        let of_all = comparison(WINDOW, None).unwrap();
        assert_eq!((of_all.values, of_all.of_values, of_all.fused), (3, 5, PredictionKind::Filtered));
        let rows: Vec<_> = of_all.rows.iter().map(|row| (row.predictor, row.rmse)).collect();
        let [last, linear, residual] =
            [Baseline::Last, Baseline::Linear, Baseline::LastResidual].map(Predictor::Baseline);
        assert_eq!(rows, [(Predictor::Fusion(PredictionKind::Filtered), 1.0), (last, 3.0), (linear, 2.0)]);
        assert_eq!(of_all.left_out, [LeftOut { predictor: residual, values: 1 }]);
        assert_eq!(comparison(WINDOW, Some(0)), comparison(WINDOW, None));
        assert_eq!((comparison(WINDOW, Some(1)), comparison(OUTPUT, None)), (None, None));
        assert!(!tally.has_output());
    }
}
