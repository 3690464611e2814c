//! Structures that a whole table may have when it says `"estimate"`.

use std::fmt;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Value};

use super::ESTIMATE;
use super::slots::{Step, value_at};

/// A table that says `"estimate"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreeTable {
    Prior,
    /// Offset layers of an instrument, by its position.
    Offsets(usize),
    Process,
}

/// One structure of a table.
#[derive(Clone, Debug)]
pub(super) struct Structure {
    pub(super) name: &'static str,
    /// The value that takes the word's place, as TOML.
    text: &'static str,
}

impl fmt::Display for FreeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("process"),
            Self::Prior => f.write_str("prior"),
            Self::Offsets(index) => write!(f, "instrument[{index}].offset_layer"),
        }
    }
}

/// The tables of a document that are free, in the order in which their structures are chosen: what matters most comes first. A prior of
/// independent cells where they are not takes disagreement and change for it, and offsets of instruments must be told from change.
pub(super) fn free_tables(document: &DocumentMut) -> Vec<FreeTable> {
    let instruments = document.get("instrument").and_then(Item::as_array_of_tables).map_or(0, ArrayOfTables::len);
    let tables =
        std::iter::once(FreeTable::Prior).chain((0..instruments).map(FreeTable::Offsets)).chain([FreeTable::Process]);
    let mut document = document.clone();
    tables.filter(|table| table.value(&mut document).and_then(|value| value.as_str()) == Some(ESTIMATE)).collect()
}

/// Structures of the process. Change of single cells beside the kernel is free in each.
const PROCESSES: [Structure; 6] = [
    Structure {
        name: "exponential",
        text: r#"{ kernel = "exponential", range = "estimate", variance = "estimate", nugget = "estimate" }"#,
    },
    Structure {
        name: "matern32",
        text: r#"{ kernel = "matern32", range = "estimate", variance = "estimate", nugget = "estimate" }"#,
    },
    Structure {
        name: "exponential, and far",
        text: r#"{ kernel = "exponential", range = "estimate", variance = "estimate", nugget = "estimate", nested = [{ kernel = "exponential", range = "estimate", variance = "estimate" }] }"#,
    },
    Structure {
        name: "matern32, and far",
        text: r#"{ kernel = "matern32", range = "estimate", variance = "estimate", nugget = "estimate", nested = [{ kernel = "matern32", range = "estimate", variance = "estimate" }] }"#,
    },
    Structure {
        name: "exponential, with the level",
        text: r#"{ kernel = "exponential", range = "estimate", variance = "estimate", nugget = "estimate", relative = { weight = "estimate", level = "estimate" } }"#,
    },
    Structure {
        name: "matern32, with the level",
        text: r#"{ kernel = "matern32", range = "estimate", variance = "estimate", nugget = "estimate", relative = { weight = "estimate", level = "estimate" } }"#,
    },
];

/// Further ones about a mean function: without it they would be drawn towards zero.
const REVERTING: [Structure; 2] = [
    Structure {
        name: "exponential, reverting",
        text: r#"{ kernel = "exponential", range = "estimate", variance = "estimate", nugget = "estimate", phi = "estimate" }"#,
    },
    Structure {
        name: "matern32, reverting",
        text: r#"{ kernel = "matern32", range = "estimate", variance = "estimate", nugget = "estimate", phi = "estimate" }"#,
    },
];

/// Structures of the prior.
const PRIORS: [Structure; 2] = [
    Structure { name: "independent cells", text: r#"{ mean = "estimate", variance = "estimate" }"# },
    Structure {
        name: "correlated as the process",
        text: r#"{ mean = "estimate", variance = "estimate", correlation = "process" }"#,
    },
];

/// Structures of an instrument's offsets.
const OFFSETS: [Structure; 4] = [
    Structure { name: "no offsets", text: "[]" },
    Structure { name: "per pixel", text: r#"[{ per = "pixel", variance = "estimate" }]"# },
    Structure {
        name: "per pixel, drifting",
        text: r#"[{ per = "pixel", variance = "estimate", drift = "estimate" }]"#,
    },
    Structure {
        name: "per pixel, drifting, and per acquisition",
        text: r#"[{ per = "pixel", variance = "estimate", drift = "estimate" }, { per = "acquisition", variance = "estimate" }]"#,
    },
];

impl FreeTable {
    fn path(self) -> Vec<Step> {
        match self {
            Self::Process => vec![Step::Key("process".into())],
            Self::Prior => vec![Step::Key("prior".into())],
            Self::Offsets(index) => {
                vec![Step::Key("instrument".into()), Step::Index(index), Step::Key("offset_layer".into())]
            }
        }
    }

    fn value(self, document: &mut DocumentMut) -> Option<&mut Value> {
        value_at(document, &self.path())
    }

    /// The structures it may have in a document; the first stands for it while those of other tables are compared.
    pub(super) fn structures(self, document: &DocumentMut) -> impl Iterator<Item = &'static Structure> {
        let (all, more): (&[Structure], &[Structure]) = match self {
            Self::Process if document.contains_key("seasonal") => (&PROCESSES, &REVERTING),
            Self::Process => (&PROCESSES, &[]),
            Self::Prior => (&PRIORS, &[]),
            Self::Offsets(_) => (&OFFSETS, &[]),
        };
        all.iter().chain(more)
    }

    /// Puts a structure in the place of the word, on its line.
    pub(super) fn put(self, document: &mut DocumentMut, structure: &Structure) {
        if let (Some(value), Ok(mut new)) = (self.value(document), structure.text.parse::<Value>()) {
            *new.decor_mut() = value.decor().clone();
            *value = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_is_toml_with_something_to_estimate_or_nothing() {
        for structure in PROCESSES.iter().chain(&REVERTING).chain(&PRIORS).chain(&OFFSETS) {
            let value: Value = structure.text.parse().unwrap();
            assert!(value.to_string().contains(ESTIMATE) || structure.text == "[]", "{}", structure.name);
        }
    }

    #[test]
    fn structures_take_the_place_of_the_word_and_leave_the_rest() {
        let text = "process = \"estimate\" # ours\n[[instrument]]\noffset_layer = \"estimate\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        assert_eq!(free_tables(&document), [FreeTable::Offsets(0), FreeTable::Process]);
        FreeTable::Process.put(&mut document, &PROCESSES[0]);
        FreeTable::Offsets(0).put(&mut document, &OFFSETS[0]);
        assert!(free_tables(&document).is_empty());
        let text = document.to_string();
        assert!(
            text.starts_with("process = { kernel = ")
                && text.ends_with(" } # ours\n[[instrument]]\noffset_layer = []\n")
        );
    }
}
