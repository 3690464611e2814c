//! From the text of a file to typed values; what is wrong is said by key and line.

use std::ops::Range;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use toml_edit::{ArrayOfTables, Document, Item, TableLike, Value};

use super::fault::Fault;
use crate::describe::Key;

/// Which keys of a table are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys {
    All,
    /// These alone.
    Only(&'static [&'static str]),
    /// All others, by the path of the table: another type reads these.
    But(fn(&str) -> &'static [&'static str]),
}

impl Keys {
    /// Those of the tables inside.
    fn inside(self) -> Self {
        match self {
            Self::Only(_) => Self::All,
            keys => keys,
        }
    }

    /// Whether a table of this path gives the key.
    fn reads(self, path: &str, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(&key),
            Self::But(others) => !others(path).contains(&key),
        }
    }
}

/// A value of the file in its place.
#[derive(Clone)]
pub(super) struct Node<'a> {
    content: Content<'a>,
    span: Option<Range<usize>>,
    key: Key,
    keys: Keys,
}

/// A table, a list of tables or a value.
#[derive(Clone, Copy)]
enum Content<'a> {
    Table(&'a dyn TableLike),
    Tables(&'a ArrayOfTables),
    Value(&'a Value),
}

impl<'a> Content<'a> {
    /// A table, written either way.
    fn table(self) -> Option<&'a dyn TableLike> {
        match self {
            Self::Table(table) => Some(table),
            Self::Value(Value::InlineTable(table)) => Some(table),
            _ => None,
        }
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Tables(_) | Self::Value(Value::Array(_)))
    }
}

impl<'a> Node<'a> {
    /// A whole file.
    pub(super) fn of_file<S>(file: &'a Document<S>, keys: Keys) -> Self {
        Self { content: Content::Table(file.as_table()), span: None, key: Key::default(), keys }
    }

    /// A table of this key.
    pub(super) fn of_table(table: &'a dyn TableLike, key: Key, keys: Keys) -> Self {
        Self { content: Content::Table(table), span: None, key, keys }
    }

    /// Whatever stands at this key.
    pub(super) fn of_item(item: &'a Item, key: Key, keys: Keys) -> Option<Self> {
        let content = match item {
            Item::None => return None,
            Item::Value(value) => Content::Value(value),
            Item::Table(table) => Content::Table(table),
            Item::ArrayOfTables(tables) => Content::Tables(tables),
        };
        Some(Self { content, span: item.span(), key, keys })
    }

    /// The value as `seed` reads it; what is wrong with it is wrong here.
    fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let (key, span) = (self.key.clone(), self.span.clone());
        seed.deserialize(self).map_err(|fault| fault.at(&key, span))
    }

    fn entries(&self, table: &'a dyn TableLike) -> Vec<(&'a str, Self)> {
        let path = self.key.path();
        let read = table.iter().filter(|(name, _)| self.keys.reads(&path, name));
        let keys = self.keys.inside();
        read.filter_map(|(name, item)| Some((name, Self::of_item(item, self.key.name(name), keys)?))).collect()
    }

    /// The entries of a list; instruments go by their names.
    fn elements(&self) -> Option<Vec<Self>> {
        let elements: Vec<(Content<'a>, Option<Range<usize>>)> = match self.content {
            Content::Tables(tables) => tables.iter().map(|table| (Content::Table(table), table.span())).collect(),
            Content::Value(Value::Array(list)) => {
                list.iter().map(|value| (Content::Value(value), value.span())).collect()
            }
            _ => return None,
        };
        let element = |(index, (content, span)): (usize, (Content<'a>, Option<Range<usize>>))| {
            let name = content
                .table()
                .and_then(|table| table.get("name"))
                .and_then(Item::as_str)
                .filter(|_| self.key == "instrument");
            let key = name.map_or_else(|| self.key.position(index), Key::of_instrument);
            Self { content, span, key, keys: self.keys }
        };
        Some(elements.into_iter().enumerate().map(element).collect())
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (key, span) = (self.key.clone(), self.span.clone());
        let table = self.content.table();
        let read = match (table, self.elements(), self.content) {
            (Some(table), ..) => visitor.visit_map(Entries { rest: self.entries(table).into_iter(), value: None }),
            (_, Some(elements), _) => {
                let mut rest = elements.into_iter();
                visitor.visit_seq(Elements(&mut rest)).and_then(|read| match rest.len() {
                    0 => Ok(read),
                    more => Err(de::Error::custom(format!("the list has {more} more than it can have"))),
                })
            }
            (.., Content::Value(Value::String(text))) => visitor.visit_str(text.value()),
            (.., Content::Value(Value::Integer(number))) => visitor.visit_i64(*number.value()),
            (.., Content::Value(Value::Float(number))) => visitor.visit_f64(*number.value()),
            (.., Content::Value(Value::Boolean(yes))) => visitor.visit_bool(*yes.value()),
            // A day without quotes.
            (.., Content::Value(Value::Datetime(day))) => visitor.visit_str(&day.value().to_string()),
            _ => visitor.visit_unit(),
        };
        read.map_err(|fault: Fault| fault.at(&key, span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    /// A table is written as one: a list would be read by position.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.content.is_list() {
            let fault: Fault = de::Error::invalid_type(de::Unexpected::Seq, &"a table");
            return Err(fault.at(&self.key, self.span));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (key, span) = (self.key.clone(), self.span.clone());
        let table = self.content.table();
        let read = match (table.map(|table| self.entries(table)), self.content) {
            (Some(entries), _) if entries.len() == 1 => match entries.into_iter().next() {
                Some((name, value)) => visitor.visit_enum(Variant { name, value: Some(value) }),
                None => Err(de::Error::custom("an empty table")),
            },
            (_, Content::Value(Value::String(text))) => visitor.visit_enum(Variant { name: text.value(), value: None }),
            _ => Err(de::Error::custom("expected a word, or a table of one key")),
        };
        read.map_err(|fault: Fault| fault.at(&key, span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// The entries of a table.
struct Entries<'a> {
    rest: std::vec::IntoIter<(&'a str, Node<'a>)>,
    value: Option<Node<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        let (key, span) = (value.key.clone(), value.span.clone());
        self.value = Some(value);
        let name: de::value::StrDeserializer<'_, Fault> = name.into_deserializer();
        // A key that is not known belongs to its table, on its own line.
        let table = Key::from_steps(&key.steps()[..key.steps().len().saturating_sub(1)]);
        seed.deserialize(name).map(Some).map_err(|fault| fault.at(&table, span))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let value = self.value.take().ok_or_else(|| <Fault as de::Error>::custom("no value"))?;
        value.read(seed)
    }
}

/// The entries of a list.
struct Elements<'i, 'a>(&'i mut std::vec::IntoIter<Node<'a>>);

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.0.next().map(|element| element.read(seed)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A word, or a table of one key.
struct Variant<'a> {
    name: &'a str,
    value: Option<Node<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: de::value::StrDeserializer<'_, Fault> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(de::Error::custom(format!("{:?} has no value; write it as a word", self.name))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let no_value = || <Fault as de::Error>::custom(format!("{0:?} needs a value, {{ {0} = ... }}", self.name));
        self.value.ok_or_else(no_value)?.read(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom(format!("{:?} is no list", self.name)))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, Fault> {
        Err(de::Error::custom(format!("{:?} is no table", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::config::fault::{is_similar, keys_of};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only faults are looked at")]
    struct Process {
        variance: f64,
        #[serde(default)]
        nested: Vec<Process>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only faults are looked at")]
    struct File {
        process: Process,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only faults are looked at")]
    struct Files {
        files: Process,
    }

    fn refused(text: &str) -> String {
        let file = Document::parse(text).unwrap();
        File::deserialize(Node::of_file(&file, Keys::All)).unwrap_err().describe(text)
    }

    #[test]
    fn faults_name_their_line_and_key() {
        for (text, expected) in [
            ("[process]\n", "process.variance: not given; give the variance of change"),
            (
                "[process]\nvariance = 1\n\nvarience = 2",
                "line 4: process.varience: unknown key; did you mean `variance`?",
            ),
            (
                "process = { variance = 1, step = 2 }",
                "line 1: process.step: unknown key; its table has the keys variance, nested",
            ),
            (
                "[process]\nvariance = 1\n[[process.nested]]\nvariance = \"a\"",
                "line 4: process.nested 1.variance: found",
            ),
            ("[process]\nvariance = 1\n[[process.nested]]", "process.nested 1.variance: not given"),
            ("\n[process]\nvariance = 1\n[process.step]", "line 4: process.step: unknown key"),
        ] {
            let found = refused(text);
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn keys_that_another_type_reads_are_left_to_it() {
        let text = "[process]\nvariance = 1\nfiles = { varience = 2 }\n";
        let file = Document::parse(text).unwrap();
        let of_others = |path: &str| -> &'static [&'static str] { if path == "process" { &["files"] } else { &[] } };
        assert!(File::deserialize(Node::of_file(&file, Keys::But(of_others))).is_ok());

        let table = file.get("process").and_then(Item::as_table_like).unwrap();
        let node = Node::of_table(table, Key::from("process"), Keys::Only(keys_of::<Files>()));
        let found = Files::deserialize(node).unwrap_err().describe(text);
        assert!(found.starts_with("line 3: process.files.varience: unknown key"), "{found}");
    }

    #[test]
    fn types_are_asked_for_their_keys() {
        assert_eq!(keys_of::<Process>(), ["variance", "nested"]);
        assert!(is_similar("variance", "varianc") && is_similar("range", "Ranges") && !is_similar("x", "y"));
    }
}
