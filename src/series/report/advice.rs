//! Advice on settings from the fit of the instruments: one line for each instrument that is far from the expectation
//! of the model.

use std::fmt;

use super::{DateDiagnostics, InstrumentReport};
use crate::geometry::Date;

/// Ratio of normalised innovation squared to its degrees of freedom above which something other than tuning is wrong.
const SUSPICIOUS_RATIO: f64 = 20.0;

/// Ratios above which intervals are much too narrow, and below which they are much too wide.
const NARROW_RATIO: f64 = 2.0;
const WIDE_RATIO: f64 = 0.5;

/// A date is suspicious whose ratio is larger than this, and larger than the median of the instrument's dates by a factor.
const ODD_RATIO: f64 = 4.0;
const ODD_FACTOR: f64 = 5.0;

/// Degrees of freedom that a ratio needs to be reported: with so many, its standard deviation is 0.14 where the model
/// is right.
const ENOUGH: u64 = 100;

/// How the observations of an instrument compare with the prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FitClass {
    Right,
    Narrow,
    Wide,
    Suspicious,
}

impl FitClass {
    fn classify(total: &DateDiagnostics) -> Self {
        match total.misfit() {
            ratio if ratio > SUSPICIOUS_RATIO => Self::Suspicious,
            _ if total.dof < ENOUGH => Self::Right,
            ratio if ratio >= NARROW_RATIO => Self::Narrow,
            ratio if ratio <= WIDE_RATIO => Self::Wide,
            _ => Self::Right,
        }
    }
}

/// Writes a line for each instrument that is far from the expectation of the model: the usual cause, and the key to
/// look at.
pub(super) fn write(f: &mut fmt::Formatter<'_>, instruments: &[InstrumentReport]) -> fmt::Result {
    let totals: Vec<_> = instruments.iter().filter_map(|one| Some((one, one.total()?))).collect();
    let judged = || totals.iter().filter(|(_, total)| total.dof >= ENOUGH);
    let all = |fit: FitClass| judged().count() > 1 && judged().all(|(_, total)| FitClass::classify(total) == fit);
    let alone = totals.len() == 1;
    let (all_narrow, all_wide) = (all(FitClass::Narrow), all(FitClass::Wide));
    // One wrong instrument pulls the others away.
    let ratio = |(_, total): &&(&InstrumentReport, DateDiagnostics)| total.misfit();
    let worst = totals.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let worst =
        worst.filter(|(_, total)| FitClass::classify(total) == FitClass::Suspicious).map(|(one, _)| one.name.as_str());
    // Uses the first date of the series: later dates of an instrument were compared with instruments that came
    // before.
    let begins = instruments.iter().filter_map(|one| one.dates.first()).map(|date| date.date).min();
    for (instrument, total) in &totals {
        let (name, ratio) = (&instrument.name, total.misfit());
        let first = is_first_date(instrument, begins);
        match FitClass::classify(total) {
            _ if ratio.is_infinite() => writeln!(
                f,
                "warning: {name} gives values that are too large to compare (nis/dof is not a number), first on {}: check fill values, scale and \
                 unit of its file",
                instrument.dates.iter().find(|date| date.misfit().is_infinite()).map_or(total.date, |date| date.date)
            )?,
            FitClass::Right => {}
            FitClass::Narrow | FitClass::Suspicious if worst.is_some_and(|worst| worst != name) => writeln!(
                f,
                "note: {name} lies further from the prediction than expected (nis/dof {ratio:.1}): perhaps because {} does; fix \
                 that first",
                worst.unwrap_or_default()
            )?,
            // Where later dates fit, scale and unit are right.
            FitClass::Suspicious if !(first && instrument.dates.len() > 1) => writeln!(
                f,
                "warning: {name} lies far from what the model expects (nis/dof {ratio:.0}): check its scale, offset and unit, \
                 unmasked clouds, and noise_variance"
            )?,
            FitClass::Narrow | FitClass::Suspicious => {
                let advice = if first {
                    "the prior variance is too small: a larger prior.variance, prior.correlation = \"process\", or a raster as prior.mean"
                } else if alone {
                    "a larger process.variance or noise_variance, or a mask for clouds that are left"
                } else if all_narrow {
                    "as for all instruments, so change is larger than expected: a larger process.variance"
                } else {
                    "a larger noise_variance, a bias or offset_layer against the other instruments, or a mask for clouds that are left"
                };
                writeln!(
                    f,
                    "note: {name} lies further from the prediction than expected (nis/dof {ratio:.1}): {advice}"
                )?;
            }
            FitClass::Wide => {
                let advice = if alone {
                    "a smaller process.variance or noise_variance"
                } else if all_wide {
                    "as for all instruments: a smaller process.variance, or smaller noise_variance"
                } else if totals.iter().all(|(_, total)| total.nis_ratio() < 1.0) {
                    "a smaller process.variance, because the others are also closer than expected; or a smaller noise_variance"
                } else {
                    "a smaller noise_variance"
                };
                writeln!(f, "note: {name} lies closer to the prediction than expected (nis/dof {ratio:.2}): {advice}")?;
            }
        }
    }
    instruments.iter().try_for_each(|instrument| write_odd_date(f, instrument, begins))
}

/// Names the date that lies far off where the other dates of an instrument do not.
fn write_odd_date(f: &mut fmt::Formatter<'_>, instrument: &InstrumentReport, begins: Option<Date>) -> fmt::Result {
    // The first date of the series is compared with the prior alone.
    let judged = |date: &&DateDiagnostics| date.dof > 0 && Some(date.date) != begins;
    let mut ratios: Vec<f64> = instrument.dates.iter().filter(judged).map(DateDiagnostics::misfit).collect();
    ratios.sort_by(f64::total_cmp);
    let usual = ratios.get(ratios.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN);
    let far = |date: &&DateDiagnostics| {
        let ratio = date.misfit();
        let clear = if date.dof < ENOUGH { SUSPICIOUS_RATIO } else { ODD_RATIO };
        ratio > clear && ratio >= ODD_FACTOR * usual && ratio.is_finite()
    };
    let odd: Vec<&DateDiagnostics> = instrument.dates.iter().filter(judged).filter(far).collect();
    let Some(worst) = odd.iter().max_by(|a, b| a.misfit().total_cmp(&b.misfit())) else { return Ok(()) };
    let others = match odd.len() {
        1 => String::new(),
        n => format!(", the worst of {n} such dates"),
    };
    writeln!(
        f,
        "warning: {} on {} lies far from what the model expects (nis/dof {:.1}, usually {usual:.2}){others}: check its file: fill \
         values, scale, unit, clouds",
        instrument.name,
        worst.date,
        worst.misfit()
    )
}

/// Whether an instrument would fit except on the first date of the series, which the prior predicts.
fn is_first_date(instrument: &InstrumentReport, begins: Option<Date>) -> bool {
    let Some((first, rest)) = instrument.dates.split_first() else { return false };
    let rest = InstrumentReport { dates: rest.to_vec(), ..InstrumentReport::default() }.total();
    let fits = rest.is_none_or(|rest| rest.dof > 0 && rest.nis_ratio() < NARROW_RATIO);
    fits && Some(first.date) == begins && first.nis_ratio() >= NARROW_RATIO
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use super::*;

    fn instrument(name: &str, ratios: &[f64], dof: u64) -> InstrumentReport {
        let date = |(k, ratio): (usize, &f64)| DateDiagnostics {
            date: Date::from_days(k as i32),
            pixels: dof,
            refused: 0,
            incomplete: 0,
            values: dof,
            dof,
            nis: ratio * dof as f64,
            log_likelihood: 0.0,
        };
        InstrumentReport {
            name: name.into(),
            dates: ratios.iter().enumerate().map(date).collect(),
            ..InstrumentReport::default()
        }
    }

    /// The lines of advice.
    fn advice(instruments: Vec<InstrumentReport>) -> Vec<String> {
        let text = Report { instruments, ..Report::default() }.to_string();
        let advised = |line: &&str| line.starts_with("note: ") || line.starts_with("warning: ");
        text.lines().filter(advised).map(Into::into).collect()
    }

    #[test]
    fn the_prior_is_not_to_blame_for_who_comes_later() {
        let mut late = instrument("late", &[4.0], 500);
        late.dates[0].date = Date::from_days(9);
        let lines = advice(vec![instrument("fits", &[1.0; 10], 500), late]);
        assert!(lines.len() == 1 && lines[0].contains("offset_layer") && !lines[0].contains("prior"), "{lines:?}");
    }

    #[test]
    fn one_that_is_wrong_is_not_blamed_on_others() {
        let (wrong, dragged) = (instrument("wrong", &[9e9, 9e9], 500), instrument("dragged", &[4e8, 3.0], 500));
        let lines = advice(vec![dragged, wrong, instrument("also", &[3.2, 3.2], 500)]);
        assert!(lines.len() == 3 && lines[1].contains("scale, offset and unit"), "{lines:?}");
        assert!([0, 2].iter().all(|&k| lines[k].contains("perhaps because wrong does")), "{lines:?}");
    }

    #[test]
    fn where_all_lie_close_the_process_is_named_first() {
        let lines = advice(vec![instrument("fine", &[0.73, 0.73], 500), instrument("coarse", &[0.4, 0.4], 500)]);
        assert!(lines.len() == 1 && lines[0].contains("coarse") && lines[0].contains("a smaller process.variance"));
    }

    #[test]
    fn one_date_far_off_is_named_though_the_total_is_fine() {
        let mut ratios = vec![1.0; 40];
        ratios[7] = 30.0;
        let lines = advice(vec![instrument("a", &ratios, 500), instrument("b", &[1.0], 500)]);
        assert!(lines.len() == 1 && lines[0].contains("a on 1970-01-08 lies far"), "{lines:?}");
        assert!(advice(vec![instrument("first", &[30.0; 1], 500), instrument("b", &[1.0; 40], 500)]).len() < 2);
    }

    #[test]
    fn what_is_not_a_number_is_the_worst_case() {
        for nothing in [f64::NAN, -f64::NAN] {
            let broken = instrument("broken", &[1.0, nothing, 1e9], 500);
            assert_eq!(broken.worst().map(|date| date.date), Some(Date::from_days(1)));
            let lines = advice(vec![broken, instrument("fits", &[1.0, 1.0], 500)]);
            assert!(
                lines[0].contains("broken gives values that are too large to compare")
                    && lines[0].contains("1970-01-02"),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_fits_gets_no_advice() {
        assert!(advice(vec![instrument("a", &[0.9, 1.1], 500), instrument("b", &[1.9], 500)]).is_empty());
        assert!(advice(vec![instrument("few", &[4.0, 0.1], 40)]).is_empty(), "too few values");
        assert!(advice(vec![instrument("none", &[], 40)]).is_empty());
    }

    #[test]
    fn each_instrument_far_from_1_is_told_which_key_to_look_at() {
        let fits = || instrument("fits", &[1.0, 1.0], 500);
        for (instruments, name, ratio, key) in [
            (
                vec![instrument("a", &[3.0, 3.0], 500), fits()],
                "a",
                "3.0",
                "a larger noise_variance, a bias or offset_layer",
            ),
            (vec![fits(), instrument("b", &[0.3, 0.2], 500)], "b", "0.25", "a smaller noise_variance"),
            (vec![instrument("c", &[9.0, 1.0, 1.1], 500), fits()], "c", "3.7", "prior.variance"),
            (vec![instrument("d", &[4.0], 500), fits()], "d", "4.0", "prior.variance"),
            (vec![instrument("e", &[50.0, 1.0], 500), fits()], "e", "25.5", "prior.variance"),
            (vec![instrument("f", &[50.0, 40.0], 10), fits()], "f", "45", "scale, offset and unit"),
            (vec![instrument("h", &[3.0, 3.0], 500)], "h", "3.0", "a larger process.variance or noise_variance"),
            (vec![instrument("i", &[0.2, 0.4], 500)], "i", "0.30", "a smaller process.variance or noise_variance"),
            (vec![instrument("g", &[50.0], 500), fits()], "g", "50", "scale, offset and unit"),
        ] {
            let lines = advice(instruments);
            assert_eq!(lines.len(), 1, "{lines:?}");
            for word in [name, &format!("(nis/dof {ratio})"), key] {
                assert!(lines[0].contains(word), "{word}: {}", lines[0]);
            }
        }
    }

    #[test]
    fn what_all_have_in_common_is_laid_to_the_process() {
        let narrow = advice(vec![instrument("a", &[2.0, 3.0], 500), instrument("b", &[2.5, 9.0], 500)]);
        assert!(
            narrow.len() == 2 && narrow.iter().all(|line| line.contains("a larger process.variance")),
            "{narrow:?}"
        );
        let wide = advice(vec![instrument("a", &[0.2], 500), instrument("b", &[0.4], 500)]);
        assert!(wide.len() == 2 && wide.iter().all(|line| line.contains("a smaller process.variance")), "{wide:?}");
    }
}
