//! What is wrong with a file, with its key, its line and what to do.

use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserializer, Visitor};

use super::advice;
use super::keys::SourceKeys;
use crate::describe::Key;

/// What is wrong with a file, and where.
#[derive(Debug)]
pub(super) struct Fault {
    at: Option<(Key, Option<Range<usize>>)>,
    kind: FaultKind,
}

#[derive(Debug)]
enum FaultKind {
    /// A key that a table must have.
    Missing(&'static str),
    /// A key that a table cannot have, and those that it can.
    Unknown(String, Vec<&'static str>),
    Other(String),
}

impl Fault {
    /// The same, of a place unless it has one already.
    pub(super) fn at(mut self, key: &Key, span: Option<Range<usize>>) -> Self {
        self.at.get_or_insert_with(|| (key.clone(), span));
        self
    }

    /// Key, line in `text`, and what to do.
    pub(super) fn describe(self, text: &str) -> String {
        let (key, span) = self.at.unwrap_or_default();
        let line = span.and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let line = line.map_or_else(String::new, |line| format!("line {line}: "));
        match self.kind {
            FaultKind::Missing(name) => {
                let key = key.name(name);
                match advice::missing(&key.path()) {
                    Some(advice) => format!("{key}: not given; {advice}"),
                    None => format!("{key}: not given"),
                }
            }
            FaultKind::Unknown(name, mut known) => {
                if key.path() == "instrument" {
                    known.extend(keys_of::<SourceKeys>());
                }
                let similar = known.iter().find(|other| is_similar(other, &name));
                let advice = match similar {
                    Some(similar) => format!("did you mean `{similar}`?"),
                    None => format!("its table has the keys {}", known.join(", ")),
                };
                format!("{line}{}: unknown key; {advice}", key.name(name))
            }
            FaultKind::Other(problem) if key == Key::default() => format!("{line}{problem}"),
            FaultKind::Other(problem) => format!("{line}{key}: {problem}"),
        }
    }
}

/// A value of the wrong type, in words of TOML.
fn found_in_words(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Seq => "a list".into(),
        de::Unexpected::Map => "a table".into(),
        de::Unexpected::Signed(number) => number.to_string(),
        de::Unexpected::Unsigned(number) => number.to_string(),
        de::Unexpected::Float(number) => format!("{number:?}"),
        de::Unexpected::Bool(yes) => yes.to_string(),
        de::Unexpected::Str(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// What was expected, in words of TOML where it is a type of Rust.
fn expected_in_words(expected: &dyn de::Expected) -> String {
    let expected = expected.to_string();
    match expected.as_str() {
        "usize" | "u8" | "u32" | "u64" => "a whole number, zero or positive".into(),
        "i32" | "i64" => "a whole number".into(),
        "f64" => "a number".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        "a boolean" => "true or false".into(),
        "a string" | "path string" => "text in quotes".into(),
        _ => expected,
    }
}

/// Whether a name is another one but for case, a plural, its end, or one or two letters.
pub(super) fn is_similar(name: &str, other: &str) -> bool {
    let (name, other) = (name.to_lowercase(), other.to_lowercase());
    if other.chars().count() > 3 && name.starts_with(&other) {
        return true;
    }
    let mut distance: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in name.chars().enumerate() {
        let mut before = i;
        distance[0] = i + 1;
        for (j, b) in other.chars().enumerate() {
            let replaced = before + usize::from(a != b);
            before = distance[j + 1];
            distance[j + 1] = replaced.min(before + 1).min(distance[j] + 1);
        }
    }
    distance.last().is_some_and(|distance| *distance <= 2 && *distance < name.chars().count())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Missing(name) => write!(f, "{name}: not given"),
            FaultKind::Unknown(name, _) => write!(f, "{name}: unknown key"),
            FaultKind::Other(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self { at: None, kind: FaultKind::Other(problem.to_string()) }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("found {}, expected {}", found_in_words(found), expected_in_words(expected)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(found: usize, expected: &dyn de::Expected) -> Self {
        Self::custom(format!("found {found} values, expected {expected}"))
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let expected: Vec<String> = expected.iter().map(|name| format!("{name:?}")).collect();
        Self::custom(format!("found {found:?}, expected one of {}", expected.join(", ")))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self { at: None, kind: FaultKind::Unknown(name.to_owned(), known.to_vec()) }
    }

    fn missing_field(name: &'static str) -> Self {
        Self { at: None, kind: FaultKind::Missing(name) }
    }
}

/// The keys of a type that is read from a table.
pub(super) fn keys_of<'de, T: de::Deserialize<'de>>() -> &'static [&'static str] {
    /// Takes the keys that a type asks for, and gives nothing.
    struct Probe<'k>(&'k mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = Fault;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
            Err(de::Error::custom("no value"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Fault> {
            *self.0 = fields;
            Err(de::Error::custom("no value"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut keys: &'static [&'static str] = &[];
    // Nothing is read: the probe only listens.
    let _ = T::deserialize(Probe(&mut keys));
    keys
}
