//! Report of a validation, as text and JSON.

use std::fmt;

use serde::ser::{Serialize, Serializer};

use super::comparison::Comparison;
use super::mask::WithheldKind;
use super::predictor::PredictionKind;
use crate::geometry::Date;
use crate::series::Score;

/// The name of scores over all bands.
pub(super) const ALL_BANDS: &str = "all bands";

/// Explanation of the columns for first-time readers.
const FOOTNOTE: &str = "\
in 50%, in 90%: share of the values inside these intervals; width 90%: how wide these are, in u
error/sd: how large errors are in standard deviations predicted, noise included; 1 when these are right, more when too small
sd factor: the factor on the fused standard deviations that makes the 90 % interval hold 90 % of the values";

/// Explanation of the baselines.
const BASELINES_NOTE: &str = "\
the same values: predicted by fusion and baselines alike, from clear values of the pixel that were not withheld
*: uses later observations, too; the others use those up to the date";

/// Scores of the predictions of withheld observations. `serde` serialises it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct ValidationReport {
    /// Seed of the random choice.
    pub seed: u64,
    /// The fusion's lag, in dates of its output axis.
    pub lag: usize,
    /// Names of the target bands.
    pub bands: Vec<String>,
    /// One entry for each instrument.
    pub instruments: Vec<InstrumentValidation>,
    /// For each target band, the factor on the fused standard deviations that makes 90 % intervals contain 90 % of
    /// the withheld values of instruments whose pixels are cells ([`Score::sd_factor`]); for
    /// [`FusionBuilder::sd_factor`](crate::engine::FusionBuilder::sd_factor). `None` with a spectral basis, and where
    /// it cannot be determined for some band.
    pub sd_factor: Option<Vec<f64>>,
}

/// Scores of the predictions of one instrument's withheld observations.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct InstrumentValidation {
    /// Its name.
    pub name: String,
    /// Dates that were withheld completely.
    pub whole_dates: Vec<Date>,
    /// Share of the blocks that was withheld on other dates.
    pub share: f64,
    /// Pixels per side of a block, where there were any.
    pub block: Option<usize>,
    /// Order: smoothed, then filtered; all bands, then each band; all kinds, then each kind; last, by time. Empty
    /// when no withheld pixel held a value.
    pub scores: Vec<ScoreRow>,
    /// The fusion and the baselines on the same values: all bands, then each band; blocks, then whole dates. Empty
    /// without baselines.
    pub baselines: Vec<Comparison>,
    /// The instrument of larger pixels whose change the baselines use, where there is one.
    pub coarse: Option<String>,
}

/// Days since the pixel last held a value that was not withheld.
///
/// JSON has `[first, last]` days, `[first, null]` where there is no last one, and `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DaysSince {
    /// An interval of days, both ends included.
    Between(u32, u32),
    /// At least this number of days.
    AtLeast(u32),
    /// The pixel held no earlier value.
    Never,
}

impl Serialize for DaysSince {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Between(first, last) => [first, last].serialize(serializer),
            Self::AtLeast(first) => (first, None::<u32>).serialize(serializer),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl fmt::Display for DaysSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(first, last) => write!(f, "{first} to {last} days after"),
            Self::AtLeast(first) => write!(f, "{first} days after or more"),
            Self::Never => f.write_str("never observed before"),
        }
    }
}

/// A score and the values that it covers.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct ScoreRow {
    /// Which prediction.
    pub estimate: PredictionKind,
    /// How the values were withheld; `None`: in any way.
    pub kind: Option<WithheldKind>,
    /// Days since the pixel last held a value that was not withheld; `None`: any number.
    pub days_since: Option<DaysSince>,
    /// The target band with which the band is compared, where its name differs and there is no spectral basis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_band: Option<String>,
    /// The score, named by the band of the instrument. The prediction is of the instrument's values, noise included.
    #[serde(flatten)]
    pub score: Score,
}

impl ScoreRow {
    fn label(&self) -> String {
        let of = match (self.kind, &self.days_since) {
            (Some(WithheldKind::Block), _) => "blocks".into(),
            (Some(WithheldKind::Date), _) => "whole dates".into(),
            (None, Some(days)) => days.to_string(),
            (None, None) => match &self.target_band {
                Some(target) => format!("{} -> {target}", self.score.name),
                None => self.score.name.clone(),
            },
        };
        format!("{} {of}", self.estimate)
    }
}

impl InstrumentValidation {
    /// The comparisons over all bands.
    fn compared(&self) -> impl Iterator<Item = &Comparison> {
        self.baselines.iter().filter(|comparison| comparison.band == ALL_BANDS)
    }
}

impl fmt::Display for InstrumentValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = match self.block {
            Some(block) => format!("{:.0} % in blocks of {block} x {block} pixels, ", 100.0 * self.share),
            None => String::new(),
        };
        let dates = match &self.whole_dates[..] {
            [] => "no whole date".into(),
            dates if dates.len() <= 6 => {
                format!("whole dates {}", dates.iter().map(Date::to_string).collect::<Vec<_>>().join(", "))
            }
            dates => format!("{} whole dates", dates.len()),
        };
        write!(f, "{}: withheld {blocks}{dates}", self.name)?;
        if self.scores.is_empty() {
            return write!(f, "; none held a value to compare with");
        }
        write!(
            f,
            "\n  {:<28} {:>10} {:>10} {:>10} {:>10} {:>10} {:>7} {:>7} {:>10} {:>8} {:>9}",
            "", "values", "RMSE", "bias", "MAE", "CRPS", "in 50%", "in 90%", "width 90%", "error/sd", "sd factor"
        )?;
        // Each band over both kinds, each kind over all bands, each interval of days.
        for row in self.scores.iter().filter(|row| row.kind.is_none() || row.score.name == ALL_BANDS) {
            let Score {
                values, rmse, bias, mae, crps, coverage_50, coverage_90, width_90, nis_ratio, sd_factor, ..
            } = &row.score;
            let factor = sd_factor.map_or_else(|| "-".into(), |factor| format!("{factor:.2}"));
            write!(
                f,
                "\n  {:<28} {values:>10} {rmse:>10.5} {bias:>10.5} {mae:>10.5} {crps:>10.5} {coverage_50:>7.3} {coverage_90:>7.3} \
                 {width_90:>10.5} {:>8.2} {factor:>9}",
                row.label(),
                nis_ratio.sqrt()
            )?;
        }
        self.compared().try_for_each(|comparison| write!(f, "{comparison}"))
    }
}

impl ValidationReport {
    /// What baselines rest on, for first-time readers.
    fn write_baselines_note(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instruments.iter().all(|instrument| instrument.baselines.is_empty()) {
            return Ok(());
        }
        write!(f, "\n{BASELINES_NOTE}")?;
        for InstrumentValidation { name, coarse, .. } in &self.instruments {
            if let Some(coarse) = coarse {
                write!(f, "\ncoarse change of {name}: that of {coarse}")?;
            }
        }
        Ok(())
    }

    /// What the fusion gains, instrument by instrument.
    fn write_sentences(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for instrument in &self.instruments {
            for sentence in instrument.compared().filter_map(Comparison::sentence) {
                write!(f, "\n{}, {sentence}", instrument.name)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ValidationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, lag {}", self.seed, self.lag)?;
        self.instruments.iter().try_for_each(|instrument| write!(f, "\n{instrument}"))?;
        if self.instruments.iter().any(|instrument| !instrument.scores.is_empty()) {
            write!(f, "\n{FOOTNOTE}")?;
        }
        self.write_baselines_note(f)?;
        if let Some(factors) = &self.sd_factor {
            let factors: Vec<String> = factors.iter().map(|factor| format!("{factor:.2}")).collect();
            write!(f, "\n[output] sd_factor = [{}] # {}", factors.join(", "), self.bands.join(", "))?;
        }
        self.write_sentences(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_numbers_in_json_and_words_in_print() {
        for (days, json, text) in [
            (DaysSince::Between(5, 8), "[5,8]", "5 to 8 days after"),
            (DaysSince::AtLeast(65), "[65,null]", "65 days after or more"),
            (DaysSince::Never, "\"never\"", "never observed before"),
        ] {
            assert_eq!((serde_json::to_string(&days).unwrap(), days.to_string()), (json.into(), text.into()));
        }
    }
}
