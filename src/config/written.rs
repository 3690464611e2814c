//! Writes what an estimation has found into the text of a description: the user's spaces and comments stay, standard
//! errors become comments.

use toml_edit::{DocumentMut, Formatted, Item, Value};

use crate::describe::{Description, ESTIMATE, Instrument, Key, Number, Numbers, PriorField, Structure, Window};
use crate::error::KeyStep;
use crate::estimate::{Estimate, EstimationResult};

/// What is said of an estimation that was ended early, or is not ended yet.
pub(super) const UNFINISHED: &str = "the best so far of an estimation; numbers may be far from what it would find";

/// Digits of correlations after the point.
const CORRELATION_DECIMALS: usize = 5;

/// The text of a description with the result of its estimation; `window` where it should have one and has none.
///
/// # Errors
/// What is wrong with the text, if it is no TOML or cannot be written as such.
pub(super) fn write(
    text: &str,
    described: &Description,
    result: &EstimationResult,
    window: Option<Window>,
) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    unfold_instruments(&mut document);
    put_structures(&mut document, described, &result.free)?;
    if let Some(window) = window.filter(|_| !document.contains_key("window"))
        && let Value::InlineTable(table) = value(&serde_json::to_value(window).map_err(|error| error.to_string())?)
    {
        document.insert("window", Item::Table(table.into_table()));
    }
    put_gates(&mut document, &described.instrument, &result.description.instrument);
    put_numbers(&mut document, result);
    put_variation(&mut document, described, result)?;
    Ok(header(result) + &document.to_string())
}

/// Writes the gates that were found, and what goes with them.
fn put_gates(document: &mut DocumentMut, before: &[Instrument], after: &[Instrument]) {
    for (before, after) in before.iter().zip(after).filter(|(before, _)| before.gate.is_none()) {
        let key = before.key();
        if let Some(gate) = after.gate {
            put(document, &key.name("gate"), value(&serde_json::json!(gate)));
        }
        if let Some(follow) = after.follow {
            put(document, &key.name("follow"), value(&serde_json::json!(follow)));
        }
    }
}

/// What was compared, as comments.
fn header(result: &EstimationResult) -> String {
    let compared = result.choices.iter().filter(|(_, choice)| choice.table().len() > 1);
    let lines = compared.flat_map(|(table, choice)| {
        let title = format!("# Structures of {table} that were compared:\n");
        std::iter::once(title).chain(choice.table().into_iter().map(|line| format!("# {line}\n")))
    });
    let quick = result
        .quick
        .then(|| "# A first look: fewer blocks and dates, no structures compared, no standard errors.\n".to_owned());
    let unfinished = (!result.finished).then(|| format!("# Not finished: {UNFINISHED}.\n"));
    let checks = result.checks.iter().map(|check| format!("# {check}\n"));
    let change = result.change.iter().map(|change| format!("# {change}\n"));
    let gates = result.gates.iter().map(|gates| format!("# {gates}\n"));
    quick.into_iter().chain(unfinished).chain(lines).chain(checks).chain(gates).chain(change).collect()
}

/// Puts the structures that were chosen in the place of the word, or where one was added; their numbers are still the
/// word.
fn put_structures(document: &mut DocumentMut, described: &Description, chosen: &Description) -> Result<(), String> {
    let text = |error: serde_json::Error| error.to_string();
    if described.process.is_free() {
        put(document, &Key::from("process"), value(&serde_json::to_value(&chosen.process).map_err(text)?));
    }
    match (described.prior.given(), chosen.prior.given()) {
        (None, _) => put(document, &Key::from("prior"), value(&serde_json::to_value(&chosen.prior).map_err(text)?)),
        (Some(before), Some(after)) if before.correlation != after.correlation => {
            let correlation = serde_json::to_value(after.correlation).map_err(text)?;
            put(document, &Key::from("prior.correlation"), value(&correlation));
        }
        _ => {}
    }
    // A free variance may have become a ratio.
    let ratio = |numbers: &Numbers| if numbers.is_ratio() { Some(serde_json::to_value(numbers)) } else { None };
    if let (Some(before), Some(after)) = (described.prior.given(), chosen.prior.given())
        && before.variance != after.variance
        && let PriorField::Constant(numbers) = &after.variance
        && let Some(tree) = ratio(numbers)
    {
        put(document, &Key::from("prior.variance"), value(&tree.map_err(text)?));
    }
    for (before, after) in described.instrument.iter().zip(&chosen.instrument) {
        if before.noise_variance != after.noise_variance
            && let Some(tree) = after.noise_variance.as_ref().and_then(ratio)
        {
            put(document, &before.key().name("noise_variance"), value(&tree.map_err(text)?));
        }
        let given = before.offset_layer.as_ref().is_some_and(|layers| !layers.is_free());
        if !given && before.offset_layer != after.offset_layer {
            let layers = serde_json::to_value(&after.offset_layer).map_err(text)?;
            put(document, &before.key().name("offset_layer"), value(&layers));
        }
    }
    Ok(())
}

/// Puts every number that was free in its place, with how sure it is.
fn put_numbers(document: &mut DocumentMut, result: &EstimationResult) {
    let mut free: Vec<Key> = Vec::new();
    result.free.clone().visit(&mut |key, _, mut place| {
        if place.written().iter().any(Number::is_free) {
            free.push(key.clone());
        }
    });
    let mut comments: Vec<(Vec<PathStep>, String)> = Vec::new();
    result.description.clone().visit(&mut |key, _, mut place| {
        if !free.contains(key) {
            return;
        }
        let numbers = place.written().iter().map(|number| match number {
            Number::Fixed(number) => *number,
            Number::Free(_) => f64::NAN,
        });
        let path = path_of(document, key);
        put_number(document, &path, &numbers.collect::<Vec<_>>());
        let mut spreads: Vec<String> = result.fit.of(key).map(Estimate::spread).collect();
        if spreads.is_empty() {
            spreads.push("of the data".into());
        }
        let line = line_of(document, &path);
        // On a line with other numbers it says which it is about.
        let own = line.len() == path.len();
        let text = if own { spreads.join(", ") } else { format!("{key} {}", spreads.join(", ")) };
        match comments.iter_mut().find(|(known, _)| *known == line) {
            Some((_, comment)) => *comment = format!("{comment}; {text}"),
            None => comments.push((line, text)),
        }
    });
    put_band_correlation(document, result);
    for (line, text) in comments {
        comment(document, &line, &text);
    }
}

/// Puts the correlation between bands that was found into the document.
fn put_band_correlation(document: &mut DocumentMut, result: &EstimationResult) {
    let correlation = |description: &Description| description.process.given().map(|p| p.band_correlation.clone());
    let found = correlation(&result.description).unwrap_or_default();
    if found.is_empty() || correlation(&result.free).as_ref() == Some(&found) {
        return;
    }
    let rows = found.iter().map(|row| numbers(row, CORRELATION_DECIMALS)).collect();
    put(document, &Key::from("process.band_correlation"), Value::Array(rows));
}

/// Puts numbers in the place of a value; in a list, in the place of those entries alone that were free.
fn put_number(document: &mut DocumentMut, path: &[PathStep], numbers: &[f64]) {
    let Some(place) = value_at(document, path) else { return };
    match place {
        Value::Array(list) if list.len() == numbers.len() => {
            for (entry, number) in list.iter_mut().zip(numbers) {
                if is_free(entry) {
                    replace(entry, written(*number));
                }
            }
        }
        one => replace(
            one,
            match numbers {
                [number] => written(*number),
                each => Value::Array(each.iter().map(|number| written(*number)).collect()),
            },
        ),
    }
}

/// Whether a value stands for a number that is to be estimated.
fn is_free(value: &Value) -> bool {
    value.as_str() == Some(ESTIMATE) || value.is_inline_table()
}

/// Puts a value in the place of another, on its line.
fn replace(place: &mut Value, value: Value) {
    let decor = place.decor().clone();
    *place = value;
    *place.decor_mut() = decor;
}

/// A number to five digits, and of one just below 1, such as a memory, as many as its distance from 1 needs.
fn digits(number: f64) -> String {
    let rest = 1.0 - number;
    if rest > 0.0 && rest < 0.1 {
        format!("{number:.*}", 4 + (-rest.log10()).ceil() as usize)
    } else {
        format!("{number:.4e}")
    }
}

fn written(number: f64) -> Value {
    let mut formatted = Formatted::new(number);
    if let Ok(Value::Float(read)) = digits(number).parse::<Value>() {
        formatted = read;
        formatted.decor_mut().clear();
    }
    Value::Float(formatted)
}

/// A step on the way to a value of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PathStep {
    Name(String),
    Position(usize),
}

/// The way to a key: instruments are entries of a list.
fn path_of(document: &DocumentMut, key: &Key) -> Vec<PathStep> {
    let mut path = Vec::new();
    for step in key.steps() {
        match step {
            KeyStep::Name(name) => path.push(PathStep::Name(name.clone())),
            KeyStep::Position(index) => path.push(PathStep::Position(*index)),
            KeyStep::Instrument(name) => {
                let tables = document.get("instrument").and_then(Item::as_array_of_tables);
                let named = |table: &toml_edit::Table| table.get("name").and_then(Item::as_str) == Some(name);
                let index = tables.and_then(|tables| tables.iter().position(named)).unwrap_or_default();
                path.extend([PathStep::Name("instrument".into()), PathStep::Position(index)]);
            }
        }
    }
    path
}

/// Puts a value in the place of one, or where there is none yet.
fn put(document: &mut DocumentMut, key: &Key, new: Value) {
    let path = path_of(document, key);
    if let Some(place) = value_at(document, &path) {
        replace(place, new);
    } else if let Some((PathStep::Name(name), table)) = path.split_last()
        && let Some(table) = table_at(document, table)
    {
        table.insert(name, Item::Value(new));
    }
}

/// The table at a path.
fn table_at<'a>(document: &'a mut DocumentMut, path: &[PathStep]) -> Option<&'a mut dyn toml_edit::TableLike> {
    match path {
        [] => Some(document.as_table_mut()),
        [PathStep::Name(name)] => document.get_mut(name)?.as_table_like_mut(),
        [PathStep::Name(name), PathStep::Position(index)] => {
            Some(document.get_mut(name)?.as_array_of_tables_mut()?.get_mut(*index)?)
        }
        _ => None,
    }
}

/// The value at a path.
fn value_at<'a>(document: &'a mut DocumentMut, path: &[PathStep]) -> Option<&'a mut Value> {
    let (PathStep::Name(first), rest) = path.split_first()? else { return None };
    in_item(document.get_mut(first)?, rest)
}

fn in_item<'a>(item: &'a mut Item, path: &[PathStep]) -> Option<&'a mut Value> {
    match (item, path.split_first()) {
        (Item::Value(value), _) => in_value(value, path),
        (Item::Table(table), Some((PathStep::Name(name), rest))) => in_item(table.get_mut(name)?, rest),
        (Item::ArrayOfTables(tables), Some((PathStep::Position(index), rest))) => {
            let (PathStep::Name(name), rest) = rest.split_first()? else { return None };
            in_item(tables.get_mut(*index)?.get_mut(name)?, rest)
        }
        _ => None,
    }
}

fn in_value<'a>(value: &'a mut Value, path: &[PathStep]) -> Option<&'a mut Value> {
    match path.split_first() {
        None => Some(value),
        Some((PathStep::Position(index), rest)) => in_value(value.as_array_mut()?.get_mut(*index)?, rest),
        Some((PathStep::Name(name), rest)) => in_value(value.as_inline_table_mut()?.get_mut(name)?, rest),
    }
}

/// The part of a path that ends at the value that a line of its own is for: what lies in a list or in braces is on
/// that of the whole.
fn line_of(document: &DocumentMut, path: &[PathStep]) -> Vec<PathStep> {
    let mut item = document.as_item();
    let mut at = 0;
    while at < path.len() {
        let (next, steps) = match (item, &path[at], path.get(at + 1)) {
            (Item::Table(table), PathStep::Name(name), _) => (table.get(name), 1),
            // A table of a list has no item of its own: the key after it has.
            (Item::ArrayOfTables(tables), PathStep::Position(index), Some(PathStep::Name(name))) => {
                (tables.get(*index).and_then(|table| table.get(name)), 2)
            }
            _ => break,
        };
        let Some(next) = next else { break };
        (item, at) = (next, at + steps);
    }
    path[..at].to_vec()
}

/// Adds a comment behind a value, after the user's own.
fn comment(document: &mut DocumentMut, path: &[PathStep], text: &str) {
    let Some(value) = value_at(document, path) else { return };
    let decor = value.decor_mut();
    let before = decor.suffix().and_then(|suffix| suffix.as_str()).unwrap_or("").trim_end().to_owned();
    let joined = if before.trim_start().starts_with('#') { format!("{before}; {text}") } else { format!(" # {text}") };
    decor.set_suffix(joined);
}

/// Makes tables of instruments that are written in braces, where keys may be added to them.
fn unfold_instruments(document: &mut DocumentMut) {
    if let Some(instruments) = document.get_mut("instrument")
        && let Ok(tables) = std::mem::take(instruments).into_array_of_tables().map_err(|folded| *instruments = folded)
    {
        *instruments = Item::ArrayOfTables(tables);
        if let Some(mut key) = document.key_mut("instrument") {
            key.leaf_decor_mut().clear();
        }
    }
}

/// A tree of values as TOML writes it on one line.
fn value(tree: &serde_json::Value) -> Value {
    match tree {
        serde_json::Value::Null => Value::from(""),
        serde_json::Value::Bool(yes) => (*yes).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(list) => Value::Array(list.iter().map(value).collect()),
        serde_json::Value::Object(table) => {
            Value::InlineTable(table.iter().map(|(name, entry)| (name.as_str(), value(entry))).collect())
        }
    }
}

/// Puts the map of change that was kept into the document; where none was, one that was asked for is taken out.
fn put_variation(document: &mut DocumentMut, described: &Description, result: &EstimationResult) -> Result<(), String> {
    let key = Key::from("process").name("variation");
    if result.change.is_some_and(|trial| trial.kept) {
        let process = result.description.process.given();
        if let Some(Structure::Given(variation)) = process.and_then(|process| process.variation.as_ref()) {
            put(document, &key, value(&serde_json::to_value(variation).map_err(|error| error.to_string())?));
        }
        return Ok(());
    }
    let asked = described.process.given().and_then(|process| process.variation.as_ref());
    if asked.is_some_and(Structure::is_free)
        && let Some(process) = table_at(document, &path_of(document, &key)[..1])
    {
        process.remove("variation");
    }
    Ok(())
}

fn numbers(numbers: &[f64], decimals: usize) -> Value {
    Value::Array(numbers.iter().map(|number| rounded(*number, decimals)).collect())
}

fn rounded(number: f64, decimals: usize) -> f64 {
    format!("{number:.decimals$}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Crs, Grid};
    use crate::source::MemorySource;

    /// A memory just below 1 must not be written as 1, nor lose the digits that its decay is made of.
    #[test]
    fn numbers_below_one_keep_their_distance_from_it() {
        for number in [0.99997, 0.999_999_123, 0.95, 0.5, 2.5e-7, 1.0, 37.25] {
            let read: f64 = digits(number).parse().unwrap();
            assert!((read - number).abs() <= 1e-4 * number.min((1.0 - number).abs()).max(1e-12), "{number}: {read}");
        }
        assert!(digits(0.99997).parse::<f64>().unwrap() < 1.0);
    }

    #[test]
    fn structures_take_the_place_of_the_word_and_leave_the_rest() {
        let text = "process = \"estimate\" # ours\n[[instrument]]\nname = \"a\" # its name\n";
        let mut document: DocumentMut = text.parse().unwrap();
        put(&mut document, &"process".into(), value(&serde_json::json!({ "kernel": "none", "variance": ESTIMATE })));
        put(&mut document, &Key::of_instrument("a").name("bias"), value(&serde_json::json!(0.5)));
        let text = document.to_string();
        let expected = "process = { kernel = \"none\", variance = \"estimate\" } # ours\n[[instrument]]\nname = \"a\" # its name\nbias = 0.5\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn numbers_take_the_place_of_free_entries_alone() {
        let mut document: DocumentMut =
            "[process]\nrange = [1e2, \"estimate\"]\nvariance = \"estimate\"\n".parse().unwrap();
        for (key, numbers) in [("process.range", &[7.0, 3e2][..]), ("process.variance", &[1.0, 2.0])] {
            let path = path_of(&document, &key.into());
            put_number(&mut document, &path, numbers);
        }
        assert_eq!(document.to_string(), "[process]\nrange = [1e2, 3.0000e2]\nvariance = [1.0000e0, 2.0000e0]\n");
    }

    #[test]
    fn gates_that_were_found_are_written_with_what_goes_with_them() {
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (1, 1)).unwrap();
        let source = || MemorySource::new(grid.clone(), vec![], vec![], ndarray::Array4::zeros((0, 0, 1, 1))).unwrap();
        let instrument = |name: &str| Instrument::new(name, source());
        let before = [instrument("a"), instrument("b").gate(0.9), instrument("c")];
        let after = [instrument("a").gate(0.944).follow(5), instrument("b").gate(0.9), instrument("c")];
        let text = "[[instrument]]\nname = \"a\"\n[[instrument]]\nname = \"b\"\n[[instrument]]\nname = \"c\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        put_gates(&mut document, &before, &after);
        assert_eq!(document.to_string(), text.replace("\"a\"\n", "\"a\"\ngate = 0.944\nfollow = 5\n"));
    }

    #[test]
    fn instruments_in_braces_become_tables() {
        let text = "process = \"estimate\"\ninstrument = [{ name = \"a\" }, { name = \"b\", bias = \"estimate\" }]\n[target]\nunit = \"1\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        unfold_instruments(&mut document);
        put(&mut document, &Key::of_instrument("b").name("gate"), 0.9.into());
        let again: DocumentMut = document.to_string().parse().unwrap();
        let tables = again["instrument"].as_array_of_tables().unwrap();
        assert_eq!((tables.len(), tables.get(1).unwrap()["gate"].as_float()), (2, Some(0.9)));
        assert_eq!(again["target"]["unit"].as_str(), Some("1"));
        let mut wrong: DocumentMut = "instrument = 3".parse().unwrap();
        unfold_instruments(&mut wrong);
        assert_eq!(wrong.to_string().trim(), "instrument = 3");
    }
}
