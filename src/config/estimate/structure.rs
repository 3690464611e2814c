//! Structures that a whole table may have when it says `"estimate"`.

use std::fmt;

use toml_edit::{DocumentMut, InlineTable, Item, Value};

use super::ESTIMATE;

/// A table that says `"estimate"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreeTable {
    Process,
    Prior,
}

/// One structure of a table.
#[derive(Clone, Debug)]
pub(super) struct Structure {
    pub(super) name: String,
    /// Keys of the table, as TOML.
    keys: Vec<(&'static str, String)>,
}

impl fmt::Display for FreeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The tables of a document that are free. The process comes first, for the prior does not decide what suits it.
pub(super) fn free_tables(document: &DocumentMut) -> Vec<FreeTable> {
    let free = |table: &FreeTable| document.get(table.key()).and_then(Item::as_str) == Some(ESTIMATE);
    [FreeTable::Process, FreeTable::Prior].into_iter().filter(free).collect()
}

impl FreeTable {
    fn key(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Prior => "prior",
        }
    }

    /// The structures it may have.
    pub(super) fn structures(self) -> Vec<Structure> {
        let free = || format!("{ESTIMATE:?}");
        let process = |name: &str, kernel: &str, further: Vec<(&'static str, String)>| {
            let mut keys = vec![("kernel", format!("{kernel:?}")), ("range", free()), ("variance", free())];
            keys.push(("nugget", free()));
            keys.extend(further);
            Structure { name: name.into(), keys }
        };
        match self {
            Self::Process => {
                let far =
                    || ("nested", r#"[{ kernel = "exponential", range = "estimate", variance = "estimate" }]"#.into());
                vec![
                    process("exponential", "exponential", vec![]),
                    process("matern32", "matern32", vec![]),
                    process("exponential at two ranges", "exponential", vec![far()]),
                    process("matern32 and exponential at two ranges", "matern32", vec![far()]),
                ]
            }
            Self::Prior => {
                vec![Structure { name: "independent cells".into(), keys: vec![("mean", free()), ("variance", free())] }]
            }
        }
    }

    /// Puts a structure in the place of the word: a table on one line, where it was.
    pub(super) fn put(self, document: &mut DocumentMut, structure: &Structure) {
        let mut table = InlineTable::new();
        for (key, text) in &structure.keys {
            if let Ok(value) = text.parse::<Value>() {
                table.insert(*key, value);
            }
        }
        if let Some(value) = document.get_mut(self.key()).and_then(Item::as_value_mut) {
            let decor = value.decor().clone();
            *value = Value::InlineTable(table);
            *value.decor_mut() = decor;
        }
    }
}
