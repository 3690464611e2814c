//! Structures that a whole table may have when it says `"estimate"`.

use std::fmt;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Value};

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
    pub(super) name: String,
    /// What takes the word's place.
    value: Value,
}

/// What is tried after the first structure of a table.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// Another structure in the place of the one kept.
    Instead(Structure),
    /// A further key of the one kept.
    Beside { name: &'static str, key: &'static str, value: Value },
}

impl Next {
    /// The structure to try while `kept` is the best so far.
    pub(super) fn after(self, kept: &Structure) -> Structure {
        match self {
            Self::Instead(structure) => structure,
            Self::Beside { name, key, value } => kept.extended(name, key, value),
        }
    }
}

impl Structure {
    /// The same with a further key, if it is a table.
    fn extended(&self, name: &str, key: &str, value: Value) -> Self {
        let mut extended = self.clone();
        if let Some(table) = extended.value.as_inline_table_mut() {
            table.insert(key, value);
            extended.name = format!("{}, {name}", self.name);
        }
        extended
    }
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

/// The tables of a document that are free, in the order in which their structures are chosen: what matters most comes first: offsets of
/// instruments must be told from change.
pub(super) fn free_tables(document: &DocumentMut) -> Vec<FreeTable> {
    let instruments = document.get("instrument").and_then(Item::as_array_of_tables).map_or(0, ArrayOfTables::len);
    let tables =
        std::iter::once(FreeTable::Prior).chain((0..instruments).map(FreeTable::Offsets)).chain([FreeTable::Process]);
    let mut document = document.clone();
    tables.filter(|table| table.value(&mut document).and_then(|value| value.as_str()) == Some(ESTIMATE)).collect()
}

/// Whether the prior is a table of nothing but a free mean and a free variance, which stands for the word.
pub(super) fn prior_is_numbers(document: &DocumentMut) -> bool {
    let prior = document.get("prior").and_then(Item::as_table_like);
    prior.is_some_and(|prior| prior.len() == 2 && is_free(prior.get("mean")) && is_free(prior.get("variance")))
}

/// Takes the word in place of a bias for one in place of offset layers, too, where `coarse` says of an instrument, by its position,
/// that its pixels are no cells: their disagreement is hardly ever a constant.
pub(super) fn widen(document: &mut DocumentMut, coarse: impl Fn(usize) -> bool) {
    let Some(instruments) = document.get_mut("instrument").and_then(Item::as_array_of_tables_mut) else { return };
    for (index, instrument) in instruments.iter_mut().enumerate() {
        if coarse(index) && is_free(instrument.get("bias")) && !instrument.contains_key("offset_layer") {
            instrument.insert("offset_layer", toml_edit::value(ESTIMATE));
        }
    }
}

/// Makes tables of instruments that are written in braces, where whole tables of theirs may be free.
pub(super) fn unfold_instruments(document: &mut DocumentMut) {
    if let Some(instruments) = document.get_mut("instrument")
        && let Ok(tables) = std::mem::take(instruments).into_array_of_tables().map_err(|folded| *instruments = folded)
    {
        *instruments = Item::ArrayOfTables(tables);
        if let Some(mut key) = document.key_mut("instrument") {
            key.leaf_decor_mut().clear();
        }
    }
}

fn is_free(item: Option<&Item>) -> bool {
    item.and_then(Item::as_str) == Some(ESTIMATE)
}

fn free() -> Value {
    ESTIMATE.into()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    entries.into_iter().collect::<InlineTable>().into()
}

/// The simplest process: change of single cells beside the kernel is free. About a mean function it is drawn back; without one the
/// state would be drawn towards zero.
fn simplest(seasonal: bool) -> Structure {
    let kernel = [("kernel", "exponential".into()), ("range", free()), ("variance", free()), ("nugget", free())];
    let simplest = Structure { name: "one range".into(), value: table(kernel) };
    if seasonal { simplest.extended("drawn back to the mean", "phi", free()) } else { simplest }
}

/// What a process may have beside it, in the order in which it is tried; `features` is the table of those of a reference image, if there
/// is one.
fn additions(seasonal: bool, features: Option<&InlineTable>) -> Vec<Next> {
    // A sum of kernels: change over far more than fields.
    let further = table([("kernel", "exponential".into()), ("range", free()), ("variance", free())]);
    let further = Next::Beside { name: "a further range", key: "nested", value: Array::from_iter([further]).into() };
    if seasonal {
        // Cells whose mean year runs alike change alike.
        let years = table([("seasonal", true.into()), ("scale", free())]);
        // Change is more variable at some times of the year.
        let season = table([("cosine", free()), ("sine", free())]);
        return vec![
            Next::Beside { name: "like years alike", key: "features", value: years },
            further,
            Next::Beside { name: "variance by season", key: "season", value: season },
        ];
    }
    let alike = |features: &InlineTable| Next::Beside {
        name: "like cells alike",
        key: "features",
        value: features.clone().into(),
    };
    std::iter::once(further).chain(features.map(alike)).collect()
}

/// The structure of the prior: neighbouring cells are alike as their change is.
fn prior() -> Structure {
    let value = table([("mean", free()), ("variance", free()), ("correlation", "process".into())]);
    Structure { name: "correlated as the process".into(), value }
}

/// A structure of an instrument's offsets, whose memory is `key`. There is none without offsets: where the fine instrument looks once or
/// twice, likelihood cannot tell offsets from change, and leaving them out costs far more than having them where they are small.
fn offsets(name: &str, key: &str) -> Structure {
    let layer = table([("per", "pixel".into()), ("variance", free()), (key, free())]);
    Structure { name: name.into(), value: Array::from_iter([layer]).into() }
}

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

    /// The structure that is tried first, and stands for the table while those of others are compared; and what is tried after it, in
    /// this order.
    pub(super) fn structures(self, document: &DocumentMut, features: Option<&InlineTable>) -> (Structure, Vec<Next>) {
        let seasonal = document.contains_key("seasonal");
        match self {
            Self::Process => (simplest(seasonal), additions(seasonal, features)),
            Self::Prior => (prior(), Vec::new()),
            Self::Offsets(_) => {
                let forgotten = offsets("per pixel, forgotten", "phi");
                (offsets("per pixel, drifting", "drift"), vec![Next::Instead(forgotten)])
            }
        }
    }

    /// Puts a structure in the place of the word, on its line.
    pub(super) fn put(self, document: &mut DocumentMut, structure: &Structure) {
        if let Some(value) = self.value(document) {
            let decor = value.decor().clone();
            *value = structure.value.clone();
            *value.decor_mut() = decor;
        }
    }

    /// Puts the first structure in the place of the word.
    pub(super) fn put_first(self, document: &mut DocumentMut) {
        let (first, _) = self.structures(document, None);
        self.put(document, &first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all structures when each that is tried is kept; every one has something to estimate.
    fn names(table: FreeTable, document: &DocumentMut) -> Vec<String> {
        let features = InlineTable::from_iter([("raster", "a.tif")]);
        let (mut kept, others) = table.structures(document, Some(&features));
        let mut names = vec![kept.name.clone()];
        for next in others {
            kept = next.after(&kept);
            assert!(kept.value.to_string().contains(ESTIMATE), "{}", kept.name);
            names.push(kept.name.clone());
        }
        names
    }

    #[test]
    fn what_is_kept_goes_on_into_the_next() {
        let mut document = DocumentMut::new();
        assert_eq!(names(FreeTable::Prior, &document), ["correlated as the process"]);
        assert_eq!(names(FreeTable::Offsets(0), &document), ["per pixel, drifting", "per pixel, forgotten"]);
        let process = ["one range", "one range, a further range", "one range, a further range, like cells alike"];
        assert_eq!(names(FreeTable::Process, &document), process);
        document.insert("seasonal", toml_edit::table());
        let all = names(FreeTable::Process, &document);
        let last = "one range, drawn back to the mean, like years alike, a further range, variance by season";
        assert_eq!((all.len(), all.last().map(String::as_str)), (4, Some(last)));
    }

    #[test]
    fn what_is_not_kept_is_not_in_the_next() {
        let mut document = DocumentMut::new();
        document.insert("seasonal", toml_edit::table());
        let (first, others) = FreeTable::Process.structures(&document, None);
        let last = others.into_iter().next_back().unwrap().after(&first);
        assert_eq!(last.name, "one range, drawn back to the mean, variance by season");
        let process = r#"{ kernel = "exponential", range = "estimate", variance = "estimate", nugget = "estimate", phi = "estimate", season = { cosine = "estimate", sine = "estimate" } }"#;
        assert_eq!(last.value.to_string(), process);
    }

    #[test]
    fn a_free_bias_is_more_than_a_constant_where_pixels_are_no_cells() {
        let text = "[prior]\nmean = \"estimate\" # per band\nvariance = \"estimate\"\n[[instrument]]\nbias = \"estimate\"\n[[instrument]]\nbias = \"estimate\"\n[[instrument]]\nbias = 0.1\n";
        let mut document: DocumentMut = text.parse().unwrap();
        assert!(prior_is_numbers(&document));
        widen(&mut document, |index| index > 0);
        assert_eq!(free_tables(&document), [FreeTable::Offsets(1)]);
        assert!(document.to_string().starts_with("[prior]\nmean = \"estimate\" # per band\n"));
    }

    #[test]
    fn instruments_in_braces_are_tables() {
        let text = "process = \"estimate\"\ninstrument = [{ name = \"a\" }, { name = \"b\", bias = \"estimate\" }]\n[target]\nunit = \"1\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        unfold_instruments(&mut document);
        widen(&mut document, |index| index == 1);
        assert_eq!(free_tables(&document), [FreeTable::Offsets(1), FreeTable::Process]);
        assert!(document.to_string().contains("[[instrument]]"), "{document}");
        let again: DocumentMut = document.to_string().parse().unwrap();
        assert_eq!(again["instrument"].as_array_of_tables().map(ArrayOfTables::len), Some(2), "{again}");
        assert_eq!(again["target"]["unit"].as_str(), Some("1"));
        let mut wrong: DocumentMut = "instrument = 3".parse().unwrap();
        unfold_instruments(&mut wrong);
        assert_eq!(wrong.to_string().trim(), "instrument = 3");
    }

    #[test]
    fn structures_take_the_place_of_the_word_and_leave_the_rest() {
        let text = "process = \"estimate\" # ours\n[[instrument]]\noffset_layer = \"estimate\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        assert_eq!(free_tables(&document), [FreeTable::Offsets(0), FreeTable::Process]);
        for table in [FreeTable::Process, FreeTable::Offsets(0)] {
            table.put_first(&mut document);
        }
        assert!(free_tables(&document).is_empty());
        let text = document.to_string();
        assert!(
            text.starts_with("process = { kernel = ")
                && text.contains(" } # ours\n[[instrument]]\noffset_layer = [{ per")
        );
    }
}
