//! What headers and dates of a stack make doubtful, though it can be read: one sentence for each doubt.

use super::LocatedGranule;
use super::agree::{Alike, HeaderLog};
use super::layout::StackLayout;
use crate::error::shown;
use crate::source::Quality;

/// Years between the first or last date of an instrument and all others from which it is reported.
const LONG_GAP_YEARS: i32 = 10;

/// Every doubt about the files of `parts`, whose quality follows `rules`.
pub(super) fn doubts(
    log: &HeaderLog,
    (layout, parts): (&StackLayout, &[LocatedGranule]),
    rules: &[Quality],
) -> Vec<String> {
    let doubts = [clear_zeros(log, (layout, parts), rules), colours(log, (layout, parts)), lone_date(parts)];
    doubts.into_iter().flatten().collect()
}

/// The number of files of some groups, and the first of them.
fn counted(groups: &[&Alike], parts: &[LocatedGranule]) -> Option<String> {
    let first = groups.first()?;
    let files: usize = groups.iter().map(|alike| alike.members.len()).sum();
    let noun = if files == 1 { "file" } else { "files" };
    Some(format!("{files} {noun}, first {}", shown(first.first(parts))))
}

/// Quality files whose nodata value is a 0 that their rule leaves visible.
fn clear_zeros(
    log: &HeaderLog,
    (layout, parts): (&StackLayout, &[LocatedGranule]),
    rules: &[Quality],
) -> Option<String> {
    let zero = |alike: &&Alike| {
        rules.iter().zip(&layout.quality).any(|(rule, planes)| {
            planes.iter().filter(|plane| plane.file == alike.file).any(|plane| {
                let own = alike.tags.get(plane.band).and_then(|tags| tags.nodata);
                own.is_some_and(|own| rule.sees_clear_zeros(own))
            })
        })
    };
    let files = counted(&log.alike.iter().filter(zero).collect::<Vec<_>>(), parts)?;
    Some(format!(
        "quality: 0 is the nodata value of {files}, and the rule does not hide it: 0 counts as clear; give quality.nodata = 0 \
         where it means that nothing is known of a pixel, [] where it means clear"
    ))
}

/// Data whose numbers are positions in a table of colours: pictures and classes are often taken for measurements.
fn colours(log: &HeaderLog, (layout, parts): (&StackLayout, &[LocatedGranule])) -> Option<String> {
    let coloured = |alike: &&Alike| {
        layout
            .bands
            .iter()
            .filter(|plane| plane.file == alike.file)
            .any(|plane| alike.tags.get(plane.band).is_some_and(|tags| tags.colours))
    };
    let files = counted(&log.alike.iter().filter(coloured).collect::<Vec<_>>(), parts)?;
    Some(format!(
        "a table of colours: {files}: their numbers may be classes or places in the table rather than measurements; check \
         that they are not pictures made for viewing"
    ))
}

/// A first or last date many years from all others, as a file name gives when the pattern meets other digits.
fn lone_date(parts: &[LocatedGranule]) -> Option<String> {
    let far = |lone: &LocatedGranule, next: Option<&LocatedGranule>, word: &str| {
        let next = next?.date;
        let years = (lone.date.days_since_epoch() - next.days_since_epoch()).abs() / 365;
        (years >= LONG_GAP_YEARS).then(|| {
            format!(
                "{} is dated {}, {years} years {word} the next date, {next}: where another number of its name was meant, correct \
                 `date`; where it is right, `time.start` and `time.end` can leave it out",
                shown(lone.name()),
                lone.date,
            )
        })
    };
    let (first, last) = (parts.first()?, parts.last()?);
    let second = parts.iter().find(|part| part.date > first.date);
    let before = parts.iter().rev().find(|part| part.date < last.date);
    // Of two dates neither is the odd one.
    if second.is_some_and(|second| second.date == last.date) {
        return None;
    }
    far(first, second, "before").or_else(|| far(last, before, "after"))
}
