//! Numbers in the place of `"estimate"`.

use toml_edit::{Array, DocumentMut, Formatted, Value};

use super::slots::{Slot, value_at};
use crate::estimate::Numbers;

/// The document with numbers in its slots, each by the slot's name; the rest stays as it is, spaces and comments too.
pub(super) fn with(document: &DocumentMut, slots: &[Slot], numbers: &Numbers) -> DocumentMut {
    let mut document = document.clone();
    for slot in slots {
        put(&mut document, slot, numbers.list(&slot.to_string()), |number| format!("{number:e}"));
    }
    document
}

/// As [`with`], of a slot, numbers being written as `text` says.
pub(super) fn put(document: &mut DocumentMut, slot: &Slot, numbers: &[f64], text: impl Fn(f64) -> String) {
    let Some(value) = value_at(document, &slot.path) else { return };
    let decor = value.decor().clone();
    let number = |number: &f64| written(*number, &text(*number));
    *value = match numbers {
        [one] => number(one),
        each => Value::Array(each.iter().map(number).collect::<Array>()),
    };
    *value.decor_mut() = decor;
}

/// A number that is written as the text says, or in full where that is no number's.
pub(super) fn written(number: f64, text: &str) -> Value {
    let mut formatted = Formatted::new(number);
    if let Ok(Value::Float(read)) = text.parse::<Value>() {
        formatted = read;
        formatted.decor_mut().clear();
    }
    Value::Float(formatted)
}
