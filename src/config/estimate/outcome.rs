//! What an estimation has found, as a report and as a description.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use toml_edit::{DocumentMut, Item};

use super::fill;
use super::slots::{Slot, Step};
use crate::error::Error;
use crate::estimate::{ChangeByBlock, Choice, Estimate, Estimation, Fit};

/// What an estimation has found.
///
/// `serde` serialises it without the text: `blocks`, `cells_per_side`, `fit`, `choices` (each with the `table` that was free) and
/// `change`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Estimated {
    /// The description with numbers in place of `"estimate"`: comments and spaces are the user's, standard errors are in comments.
    pub text: String,
    /// The estimates.
    pub fit: Fit,
    /// Structures that were compared, by the table that was free.
    pub choices: Vec<(String, Choice)>,
    /// Whether change varies over the scene, where that was asked for.
    pub change: Option<ChangeByBlock>,
    /// Blocks that were looked at, and cells per side of each.
    pub blocks: (usize, usize),
    path: PathBuf,
}

impl Estimated {
    pub(super) fn new(
        path: PathBuf,
        text: String,
        fit: Fit,
        choices: Vec<(String, Choice)>,
        change: Option<ChangeByBlock>,
        estimation: &Estimation,
    ) -> Self {
        Self { text, fit, choices, change, blocks: (estimation.blocks(), estimation.side()), path }
    }

    /// Where the description goes by default: `FUSION.estimated.toml` beside `FUSION.toml`; `fusion.estimated.toml` in the folder of
    /// one that is no file.
    #[must_use]
    pub fn default_path(&self) -> PathBuf {
        if self.path.is_dir() || self.path.as_os_str().is_empty() {
            self.path.join("fusion.estimated.toml")
        } else {
            self.path.with_extension("estimated.toml")
        }
    }

    /// Writes the description, and the folders on the way; a file of that name is replaced when the new one is whole. Relative paths in
    /// it are what they were, so it belongs into the folder of the one it is made of.
    ///
    /// # Errors
    /// [`Error::ConfigFile`] when it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> crate::Result<()> {
        let path = path.as_ref();
        crate::sink::replace(path, self.text.as_bytes(), true).map_err(|error| Error::ConfigFile {
            path: path.to_path_buf(),
            problem: format!("cannot write: {error}; name another file"),
        })
    }
}

impl Serialize for Estimated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OfTable<'a> {
            table: &'a str,
            #[serde(flatten)]
            choice: &'a Choice,
        }
        #[derive(Serialize)]
        struct View<'a> {
            blocks: usize,
            cells_per_side: usize,
            fit: &'a Fit,
            choices: Vec<OfTable<'a>>,
            change: Option<&'a ChangeByBlock>,
        }
        let Self { fit, choices, change, blocks: (blocks, cells_per_side), text: _, path: _ } = self;
        let choices = choices.iter().map(|(table, choice)| OfTable { table, choice }).collect();
        let view = View { blocks: *blocks, cells_per_side: *cells_per_side, fit, choices, change: change.as_ref() };
        view.serialize(serializer)
    }
}

impl fmt::Display for Estimated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, side) = self.blocks;
        writeln!(f, "estimated from {} values in {blocks} blocks of {side} x {side} cells", self.fit.values)?;
        for (table, choice) in &self.choices {
            if choice.table().len() > 1 {
                writeln!(f, "structures of {table}:")?;
                choice.table().iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        self.change.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        write!(f, "{}", self.fit)
    }
}

/// The document with the estimates of its slots, and comments that say how sure they are and what was compared.
pub(super) fn write(
    document: &DocumentMut,
    slots: &[Slot],
    fit: &Fit,
    choices: &[(String, Choice)],
    change: Option<&ChangeByBlock>,
) -> String {
    let mut document = document.clone();
    for slot in slots {
        fill::put(&mut document, slot, fit.numbers.list(&slot.to_string()), written);
    }
    let mut told: Vec<(Vec<Step>, String)> = Vec::new();
    for slot in slots {
        let key = slot.to_string();
        let mut spreads: Vec<String> = fit.of(&key).map(Estimate::spread).collect();
        if spreads.is_empty() {
            spreads.push("of the data".into());
        }
        let line = line_of(&document, &slot.path);
        // On a line with other numbers it says which it is about.
        let own = line.len() == slot.path.len();
        let text = if own { spreads.join(", ") } else { format!("{key} {}", spreads.join(", ")) };
        match told.iter_mut().find(|(known, _)| *known == line) {
            Some((_, comment)) => *comment = format!("{comment}; {text}"),
            None => told.push((line, text)),
        }
    }
    for (line, text) in told {
        comment(&mut document, &line, &text);
    }
    let compared = choices.iter().filter(|(_, choice)| choice.table().len() > 1);
    let lines = compared.flat_map(|(table, choice)| {
        let title = format!("# Structures of {table} that were compared:\n");
        std::iter::once(title).chain(choice.table().into_iter().map(|line| format!("# {line}\n")))
    });
    let change = change.map(|change| format!("# {change}\n"));
    lines.chain(change).collect::<String>() + &document.to_string()
}

/// A number as it is written: to five digits, and of one just below 1, such as a memory, as many as its distance from 1 needs.
fn written(number: f64) -> String {
    let rest = 1.0 - number;
    if rest > 0.0 && rest < 0.1 {
        format!("{number:.*}", 4 + (-rest.log10()).ceil() as usize)
    } else {
        format!("{number:.4e}")
    }
}

/// The part of a path that ends at the value that a line of its own is for: what lies in a list or in braces is on that of the whole.
fn line_of(document: &DocumentMut, path: &[Step]) -> Vec<Step> {
    let mut item = document.as_item();
    let mut at = 0;
    while at < path.len() {
        let (next, steps) = match (item, &path[at], path.get(at + 1)) {
            (Item::Table(table), Step::Key(key), _) => (table.get(key), 1),
            // A table of a list has no item of its own: the key after it has.
            (Item::ArrayOfTables(tables), Step::Index(index), Some(Step::Key(key))) => {
                (tables.get(*index).and_then(|table| table.get(key)), 2)
            }
            _ => break,
        };
        let Some(next) = next else { break };
        (item, at) = (next, at + steps);
    }
    path[..at].to_vec()
}

/// Adds a comment behind a value, after the user's own.
fn comment(document: &mut DocumentMut, path: &[Step], text: &str) {
    let Some(value) = super::slots::value_at(document, path) else { return };
    let decor = value.decor_mut();
    let before = decor.suffix().and_then(|suffix| suffix.as_str()).unwrap_or("").trim_end().to_owned();
    let joined = if before.trim_start().starts_with('#') { format!("{before}; {text}") } else { format!(" # {text}") };
    decor.set_suffix(joined);
}

#[cfg(test)]
mod digits {
    use super::written;

    /// A memory just below 1 must not be written as 1, nor lose the digits that its decay is made of.
    #[test]
    fn numbers_below_one_keep_their_distance_from_it() {
        for number in [0.99997, 0.999_999_123, 0.95, 0.5, 2.5e-7, 1.0, 37.25] {
            let read: f64 = written(number).parse().unwrap();
            assert!((read - number).abs() <= 1e-4 * number.min((1.0 - number).abs()).max(1e-12), "{number}: {read}");
        }
        assert!(written(0.99997).parse::<f64>().unwrap() < 1.0);
    }
}
