//! `process.variation = "estimate"`: whether change varies over the scene is looked at when all else is known.

use toml_edit::{Array, DocumentMut, InlineTable, TableLike, Value};

use super::ESTIMATE;
use crate::estimate::ChangeByBlock;

const PROCESS: &str = "process";
const VARIATION: &str = "variation";

fn process(document: &mut DocumentMut) -> Option<&mut dyn TableLike> {
    document.get_mut(PROCESS)?.as_table_like_mut()
}

/// Takes the word out of the document, if it is there: change is the same everywhere while other numbers are estimated.
pub(super) fn take(document: &mut DocumentMut) -> bool {
    let Some(process) = process(document) else { return false };
    let free = process.get(VARIATION).and_then(|item| item.as_str()) == Some(ESTIMATE);
    if free {
        process.remove(VARIATION);
    }
    free
}

/// Puts what was found into the document, one place a line.
pub(super) fn put(document: &mut DocumentMut, found: &ChangeByBlock) {
    let Some(process) = process(document) else { return };
    let mut points = Array::new();
    // Places to a thousandth of the range.
    let decimals = (3.0 - found.range.log10()).ceil().max(0.0) as usize;
    for ((x, y), factors) in found.points() {
        let mut point = InlineTable::new();
        point.insert("at", numbers(&[x, y], decimals));
        point.insert("factor", numbers(factors, 4));
        let mut point = Value::InlineTable(point);
        point.decor_mut().set_prefix("\n    ");
        points.push_formatted(point);
    }
    points.set_trailing("\n");
    points.set_trailing_comma(true);
    let mut table = InlineTable::new();
    table.insert("range", rounded(found.range, decimals).into());
    table.insert("points", Value::Array(points));
    process.insert(VARIATION, toml_edit::value(table));
}

fn numbers(numbers: &[f64], decimals: usize) -> Value {
    Value::Array(numbers.iter().map(|number| rounded(*number, decimals)).collect())
}

fn rounded(number: f64, decimals: usize) -> f64 {
    format!("{number:.decimals$}").parse().unwrap_or(number)
}
