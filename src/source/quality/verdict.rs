//! Evaluation of quality rules: from stored quality numbers to hidden cells.

use std::sync::OnceLock;

use super::Quality;
use super::dilate::dilated;

impl Quality {
    /// Whether the rule tests bits, which only integers have.
    fn needs_integers(&self) -> bool {
        !(self.bits.is_empty() && self.fields.is_empty())
    }

    /// The verdict for a stored quality number.
    ///
    /// # Errors
    /// A number that has no bits.
    fn judge(&self, value: f64) -> Result<Verdict, String> {
        if value.is_nan() {
            return Ok(Verdict::Unknown);
        }
        let mut hidden = self.drop.contains(&value)
            || self.keep.as_ref().is_some_and(|keep| !keep.contains(&value))
            || self.valid_range.is_some_and(|(low, high)| !(low..=high).contains(&value));
        if self.needs_integers() {
            if value.fract() != 0.0 || value.abs() >= 9.0e18 {
                return Err(format!("{value} is not an integer and has no bits; use `drop`, `keep` or `valid_range`"));
            }
            // Negative numbers are tested by their two's complement.
            let word = if value < 0.0 { value as i64 as u64 } else { value as u64 };
            hidden |= self.bits.iter().any(|bit| word >> bit & 1 == 1);
            hidden |= self.fields.iter().any(|(bits, values)| {
                let width = bits.end() - bits.start() + 1;
                let mask = 1_u64.checked_shl(width).map_or(u64::MAX, |n| n - 1);
                values.contains(&(word >> bits.start() & mask))
            });
        }
        Ok(if hidden { Verdict::Hidden } else { Verdict::Visible })
    }

    /// Whether the rule leaves a number visible.
    pub(super) fn shows(&self, value: f64) -> bool {
        self.judge(value) == Ok(Verdict::Visible)
    }

    /// Which cells are hidden, row by row, for quality numbers in rows of `cols`.
    ///
    /// # Errors
    /// A number that cannot be judged.
    pub(in crate::source) fn hidden(&self, codes: &Codes, cols: usize, tables: &Tables) -> Result<Vec<bool>, String> {
        let verdicts = match codes {
            Codes::U8(codes, missing) => {
                let mut table = self.table((0..=u8::MAX).map(f64::from))?;
                mark(&mut table, missing, |value| (0.0..=255.0).contains(&value).then_some(value as usize));
                codes.iter().map(|code| table[usize::from(*code)]).collect()
            }
            Codes::U16(codes, missing) => {
                let table = tables.unsigned.get_or_init(|| self.table((0..=u16::MAX).map(f64::from)));
                look_up(codes, missing, table.as_ref()?, usize::from)
            }
            Codes::I16(codes, missing) => {
                let all = (0..=u16::MAX).map(|bits| f64::from(bits.cast_signed()));
                let table = tables.signed.get_or_init(|| self.table(all));
                look_up(codes, missing, table.as_ref()?, |code| usize::from(code.cast_unsigned()))
            }
            Codes::F64(values) => self.judge_all(values)?,
        };
        if self.dilate == 0 {
            return Ok(verdicts.into_iter().map(|verdict| verdict != Verdict::Visible).collect());
        }
        let hidden: Vec<bool> = verdicts.iter().map(|verdict| *verdict == Verdict::Hidden).collect();
        let mut hidden = dilated(&hidden, cols, self.dilate);
        hidden.iter_mut().zip(verdicts).for_each(|(hidden, verdict)| *hidden |= verdict == Verdict::Unknown);
        Ok(hidden)
    }

    /// The verdict for each number.
    fn table(&self, numbers: impl Iterator<Item = f64>) -> Result<Vec<Verdict>, String> {
        numbers.map(|number| self.judge(number)).collect()
    }

    /// Like [`table`](Self::table), but fast where neighbouring numbers are mostly equal.
    fn judge_all(&self, values: &[f64]) -> Result<Vec<Verdict>, String> {
        let mut last = (f64::NAN, Verdict::Unknown);
        let judge = |value: &f64| {
            if *value != last.0 {
                last = (*value, self.judge(*value)?);
            }
            Ok(last.1)
        };
        values.iter().map(judge).collect()
    }
}

/// The verdict of each number, by its index in a table.
fn look_up<T: Copy + Into<f64>>(
    codes: &[T],
    missing: &[f64],
    table: &[Verdict],
    index: impl Fn(T) -> usize,
) -> Vec<Verdict> {
    // Two comparisons without a loop are faster, and there are seldom more.
    if let [] | [_] | [_, _] = missing {
        let [a, b] = [0, 1].map(|k| missing.get(k).copied().unwrap_or(f64::NAN));
        let judge = |code: &T| {
            let value = (*code).into();
            if value == a || value == b { Verdict::Unknown } else { table[index(*code)] }
        };
        return codes.iter().map(judge).collect();
    }
    let judge = |code: &T| if missing.contains(&(*code).into()) { Verdict::Unknown } else { table[index(*code)] };
    codes.iter().map(judge).collect()
}

/// Marks the verdicts of missing numbers as unknown.
fn mark(table: &mut [Verdict], missing: &[f64], index: impl Fn(f64) -> Option<usize>) {
    for index in missing.iter().copied().filter_map(index) {
        table[index] = Verdict::Unknown;
    }
}

/// Stored quality numbers, and the numbers that mean "no value".
pub(in crate::source) enum Codes {
    U8(Vec<u8>, Vec<f64>),
    U16(Vec<u16>, Vec<f64>),
    I16(Vec<i16>, Vec<f64>),
    /// NaN where missing.
    F64(Vec<f64>),
}

/// The verdicts of a rule for every 16-bit number, computed once.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Tables {
    unsigned: OnceLock<Result<Vec<Verdict>, String>>,
    signed: OnceLock<Result<Vec<Verdict>, String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Visible,
    Hidden,
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a number is hidden, in every type that holds it.
    fn hidden(quality: &Quality, value: f64) -> bool {
        let (tables, none) = (Tables::default(), Vec::new);
        let judge = |codes: Codes| quality.hidden(&codes, 1, &tables).unwrap()[0];
        let hidden = judge(Codes::F64(vec![value]));
        if value == f64::from(value as u8) {
            assert_eq!(judge(Codes::U8(vec![value as u8], none())), hidden, "{value}");
            assert!(judge(Codes::U8(vec![value as u8], vec![value])), "no quality");
        }
        if value == f64::from(value as u16) {
            assert_eq!(judge(Codes::U16(vec![value as u16], none())), hidden, "{value}");
            assert!(judge(Codes::U16(vec![value as u16], vec![7.5, value])), "no quality");
        }
        if value == f64::from(value as i16) {
            assert_eq!(judge(Codes::I16(vec![value as i16], none())), hidden, "{value}");
        }
        hidden
    }

    #[test]
    fn bits_fields_classes_and_ranges_hide() {
        let bits = Quality::band(1).bits([1, 3]);
        assert!(hidden(&bits, 2.0) && hidden(&bits, 8.0) && hidden(&bits, 255.0) && hidden(&bits, -1.0));
        assert!(!hidden(&bits, 0.0) && !hidden(&bits, 5.0) && !hidden(&bits, 64.0));
        let confidence = Quality::band(1).field(8..=9, [3]);
        assert!(hidden(&confidence, 22_280.0) && !hidden(&confidence, 21_824.0), "Landsat's cloud and clear");
        let classes = Quality::band(1).drop([3.0, 8.0]);
        assert!(hidden(&classes, 3.0) && !hidden(&classes, 4.0));
        let vegetation = Quality::band(1).keep([4.0, 5.0]);
        assert!(hidden(&vegetation, 3.0) && !hidden(&vegetation, 4.0));
        let range = Quality::band(1).valid_range(0.0, 1.0);
        assert!(hidden(&range, 1.5) && !hidden(&range, 0.5) && !hidden(&range, 1.0));
        for rule in [&bits, &confidence, &classes, &vegetation, &range] {
            assert!(hidden(rule, f64::NAN), "no quality, no pixel: {rule}");
        }
        assert!(bits.hidden(&Codes::F64(vec![0.5]), 1, &Tables::default()).unwrap_err().contains("not an integer"));
    }

    #[test]
    fn missing_quality_does_not_spread() {
        let rule = Quality::band(1).bits([0]).dilate(1);
        let values = Codes::F64(vec![f64::NAN, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(rule.hidden(&values, 6, &Tables::default()).unwrap(), [true, false, false, true, true, true]);
    }
}
