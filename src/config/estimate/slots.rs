//! Where a description says `"estimate"`.

use std::fmt;

use toml_edit::{DocumentMut, Item, Value};

use super::ESTIMATE;

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// A value that is to be estimated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) path: Vec<Step>,
}

impl Slot {
    /// The keys on the way, without positions: what is believed of it depends on them.
    pub(super) fn keys(&self) -> Vec<&str> {
        let mut keys = Vec::with_capacity(self.path.len());
        for step in &self.path {
            if let Step::Key(key) = step {
                keys.push(key.as_str());
            }
        }
        keys
    }

    /// The position behind a key, such as an instrument's among `instrument`.
    pub(super) fn position(&self, key: &str) -> Option<usize> {
        let at = self.path.iter().position(|step| *step == Step::Key(key.to_owned()))?;
        match self.path.get(at + 1) {
            Some(Step::Index(index)) => Some(*index),
            _ => None,
        }
    }

    /// The position in a list of numbers, when it is one of them.
    pub(super) fn element(&self) -> Option<usize> {
        match self.path.last() {
            Some(Step::Index(index)) => Some(*index),
            _ => None,
        }
    }

    /// Whether it stands for a table of an instrument, not for a number.
    fn is_table(&self) -> bool {
        matches!(self.path.as_slice(), [.., Step::Index(_), Step::Key(key)] if key == "offset_layer")
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, step) in self.path.iter().enumerate() {
            match step {
                Step::Key(key) if k == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Tables in which any number may be estimated, and keys of an instrument that may.
const TABLES: [&str; 2] = ["process", "prior"];
const OF_INSTRUMENT: [&str; 3] = ["noise_variance", "bias", "offset_layer"];

/// Every value of the places that numbers may be estimated in that says so.
pub(super) fn find(document: &DocumentMut) -> Vec<Slot> {
    let mut slots = Vec::new();
    for table in TABLES {
        if let Some(item) = document.get(table) {
            walk_item(item, &mut vec![Step::Key(table.into())], &mut slots);
        }
    }
    let key = "instrument";
    if let Some(item) = document.get(key) {
        let mut all = Vec::new();
        walk_item(item, &mut vec![Step::Key(key.into())], &mut all);
        let heeded =
            |slot: &Slot| slot.keys().get(1).is_some_and(|key| OF_INSTRUMENT.contains(key)) && !slot.is_table();
        slots.extend(all.into_iter().filter(heeded));
    }
    slots
}

fn walk_item(item: &Item, path: &mut Vec<Step>, slots: &mut Vec<Slot>) {
    match item {
        Item::None => {}
        Item::Value(value) => walk_value(value, path, slots),
        Item::Table(table) => {
            for (key, item) in table {
                path.push(Step::Key(key.into()));
                walk_item(item, path, slots);
                path.pop();
            }
        }
        Item::ArrayOfTables(tables) => {
            for (index, table) in tables.iter().enumerate() {
                path.push(Step::Index(index));
                for (key, item) in table {
                    path.push(Step::Key(key.into()));
                    walk_item(item, path, slots);
                    path.pop();
                }
                path.pop();
            }
        }
    }
}

fn walk_value(value: &Value, path: &mut Vec<Step>, slots: &mut Vec<Slot>) {
    match value {
        // A whole table is no number.
        Value::String(text) if text.value() == ESTIMATE && path.len() > 1 => slots.push(Slot { path: path.clone() }),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                path.push(Step::Index(index));
                walk_value(value, path, slots);
                path.pop();
            }
        }
        Value::InlineTable(table) => {
            for (key, value) in table {
                path.push(Step::Key(key.into()));
                walk_value(value, path, slots);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The value at a path.
pub(super) fn value_at<'a>(document: &'a mut DocumentMut, path: &[Step]) -> Option<&'a mut Value> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    in_item(document.get_mut(first)?, rest)
}

fn in_item<'a>(item: &'a mut Item, path: &[Step]) -> Option<&'a mut Value> {
    match (item, path.split_first()) {
        (Item::Value(value), _) => in_value(value, path),
        (Item::Table(table), Some((Step::Key(key), rest))) => in_item(table.get_mut(key)?, rest),
        (Item::ArrayOfTables(tables), Some((Step::Index(index), rest))) => {
            let (Step::Key(key), rest) = rest.split_first()? else { return None };
            in_item(tables.get_mut(*index)?.get_mut(key)?, rest)
        }
        _ => None,
    }
}

fn in_value<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    match path.split_first() {
        None => Some(value),
        Some((Step::Index(index), rest)) => in_value(value.as_array_mut()?.get_mut(*index)?, rest),
        Some((Step::Key(key), rest)) => in_value(value.as_inline_table_mut()?.get_mut(key)?, rest),
    }
}

/// Gives the table at a path, one of a list of tables, a key where it has none.
pub(super) fn insert_at(document: &mut DocumentMut, path: &[Step], key: &str, number: i64) {
    let (Some(Step::Index(index)), Some((Step::Key(first), between))) = (path.last(), path.split_first()) else {
        return;
    };
    let mut item = document.get_mut(first);
    for step in &between[..between.len() - 1] {
        let Step::Key(key) = step else { return };
        item = item.and_then(|item| item.get_mut(key));
    }
    match item {
        Some(Item::ArrayOfTables(tables)) => {
            if let Some(table) = tables.get_mut(*index) {
                table.entry(key).or_insert(toml_edit::value(number));
            }
        }
        Some(Item::Value(Value::Array(tables))) => {
            if let Some(table) = tables.get_mut(*index).and_then(Value::as_inline_table_mut) {
                table.entry(key).or_insert(number.into());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_numbers_are_found_wherever_they_may_be() {
        let text = r#"
            process = { variance = [1e-4, "estimate"], nested = [{ range = "estimate" }], kernel = "exponential" }
            [prior]
            mean = "estimate" # of all
            variance = "prior.tif"
            [[instrument]]
            name = "estimate"
            bias = 0.0
            [[instrument]]
            noise_variance = "estimate"
        "#;
        let mut document: DocumentMut = text.parse().unwrap();
        let slots = find(&document);
        let names: Vec<String> = slots.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["process.variance[1]", "process.nested[0].range", "prior.mean", "instrument[1].noise_variance"]
        );
        for slot in &slots {
            assert_eq!(value_at(&mut document, &slot.path).unwrap().as_str(), Some("estimate"));
        }
        assert_eq!((slots[0].element(), slots[3].position("instrument")), (Some(1), Some(1)));
        assert_eq!(slots[1].keys(), ["process", "nested", "range"]);
    }

    #[test]
    fn keys_are_added_where_there_are_none() {
        let text = "[[process.field]]\nblock = 3\n[[process.field]]\nrange = 1.0\n";
        let mut document: DocumentMut = text.parse().unwrap();
        for index in 0..2 {
            let path = [Step::Key("process".into()), Step::Key("field".into()), Step::Index(index)];
            insert_at(&mut document, &path, "block", 10);
        }
        assert_eq!(document.to_string(), text.to_owned() + "block = 10\n");
        let mut inline: DocumentMut = "process = { field = [{ range = 1.0 }] }".parse().unwrap();
        insert_at(&mut inline, &[Step::Key("process".into()), Step::Key("field".into()), Step::Index(0)], "block", 10);
        assert!(inline.to_string().contains("block = 10"));
    }
}
