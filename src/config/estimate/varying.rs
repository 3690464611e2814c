//! `process.variation = "estimate"`: whether change varies over the scene is looked at when all else is known.

use toml_edit::{Array, DocumentMut, InlineTable, TableLike, Value};

use super::ESTIMATE;
use crate::estimate::ChangeByBlock;

const PROCESS: &str = "process";
const VARIATION: &str = "variation";

/// Digits of factors behind the point; the least of them is a twelfth, and less in the light of others.
const FACTOR_DECIMALS: usize = 4;

fn process(document: &mut DocumentMut) -> Option<&mut dyn TableLike> {
    document.get_mut(PROCESS)?.as_table_like_mut()
}

/// Puts a variation that is none in the place of the word, if it is there: change is the same everywhere while other numbers are
/// estimated.
pub(super) fn take(document: &mut DocumentMut) -> bool {
    let mut none = InlineTable::new();
    none.insert("range", 1.0.into());
    none.insert("points", Value::Array(Array::from_iter([point((0.0, 0.0), &[], 0)])));
    let free = value(document).is_some_and(|value| value.as_str() == Some(ESTIMATE));
    if free {
        replace(document, none);
    }
    free
}

fn value(document: &mut DocumentMut) -> Option<&mut Value> {
    process(document)?.get_mut(VARIATION)?.as_value_mut()
}

/// Puts a table in the place of the value, on its line.
fn replace(document: &mut DocumentMut, table: InlineTable) {
    if let Some(value) = value(document) {
        let decor = value.decor().clone();
        *value = Value::InlineTable(table);
        *value.decor_mut() = decor;
    }
}

/// Puts what was found into the document, one place a line; nothing where change is the same everywhere.
pub(super) fn put(document: &mut DocumentMut, found: &ChangeByBlock) {
    if found.variation().is_none() {
        process(document).and_then(|process| process.remove(VARIATION));
        return;
    }
    // Places to a thousandth of the range.
    let decimals = (3.0 - found.range.log10()).ceil().max(0.0) as usize;
    let mut points = Array::new();
    for (place, factors) in found.places.iter().zip(&found.factors) {
        let mut point = point(*place, factors, decimals);
        point.decor_mut().set_prefix("\n    ");
        points.push_formatted(point);
    }
    points.set_trailing("\n");
    points.set_trailing_comma(true);
    let mut table = InlineTable::new();
    table.insert("range", rounded(found.range, decimals).into());
    table.insert("elsewhere", numbers(&found.elsewhere, FACTOR_DECIMALS));
    table.insert("points", Value::Array(points));
    replace(document, table);
}

/// A point, without factors one that changes nothing.
fn point((x, y): (f64, f64), factors: &[f64], decimals: usize) -> Value {
    let mut point = InlineTable::new();
    point.insert("at", numbers(&[x, y], decimals));
    point.insert("factor", if factors.is_empty() { 1.0.into() } else { numbers(factors, FACTOR_DECIMALS) });
    Value::InlineTable(point)
}

fn numbers(numbers: &[f64], decimals: usize) -> Value {
    Value::Array(numbers.iter().map(|number| rounded(*number, decimals)).collect())
}

fn rounded(number: f64, decimals: usize) -> f64 {
    format!("{number:.decimals$}").parse().unwrap_or(number)
}
