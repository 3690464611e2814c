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
    pub(super) name: String,
    /// The value that takes the word's place, as TOML.
    text: String,
}

impl Structure {
    fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// The same with a further key of an inline table.
    fn with(&self, name: &str, text: &str) -> Self {
        let table = self.text.strip_suffix(" }").unwrap_or(&self.text);
        Self { name: format!("{}, {name}", self.name), text: format!("{table}, {text} }}") }
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

fn is_free(item: Option<&Item>) -> bool {
    item.and_then(Item::as_str) == Some(ESTIMATE)
}

/// What every process has: change of single cells beside the kernel is free.
const KERNEL: (&str, &str) =
    ("one range", r#"{ kernel = "exponential", range = "estimate", variance = "estimate", nugget = "estimate" }"#);

/// About a mean function; without one the state would be drawn towards zero.
const REVERTING: (&str, &str) = ("drawn back to the mean", r#"phi = "estimate""#);

/// A sum of kernels: change over far more than fields.
const FAR: (&str, &str) =
    ("a further range", r#"nested = [{ kernel = "exponential", range = "estimate", variance = "estimate" }]"#);

/// Cells whose mean year runs alike change alike.
const YEARS: (&str, &str) = ("like years alike", r#"features = { seasonal = true, scale = "estimate" }"#);

/// Change is more variable at some times of the year.
const SEASON: (&str, &str) = ("variance by season", r#"season = { cosine = "estimate", sine = "estimate" }"#);

/// The simplest process.
fn simplest(seasonal: bool) -> Structure {
    let (name, text) = KERNEL;
    let simplest = Structure::new(name, text);
    if seasonal { simplest.with(REVERTING.0, REVERTING.1) } else { simplest }
}

/// What a process may have beside it, in the order in which it is tried.
fn additions(seasonal: bool, features: Option<&str>) -> Vec<(&'static str, String)> {
    if seasonal {
        return [YEARS, FAR, SEASON].map(|(name, text)| (name, text.to_owned())).to_vec();
    }
    let alike = features.map(|features| ("like cells alike", format!("features = {features}")));
    [(FAR.0, FAR.1.to_owned())].into_iter().chain(alike).collect()
}

/// The structure of the prior: neighbouring cells are alike as their change is.
const PRIOR: &str = r#"{ mean = "estimate", variance = "estimate", correlation = "process" }"#;

/// Structures of an instrument's offsets. There is none without: where the fine instrument looks once or twice, likelihood cannot
/// tell offsets from change, and leaving them out costs far more than having them where they are small.
const OFFSETS: [(&str, &str); 2] = [
    ("per pixel, drifting", r#"[{ per = "pixel", variance = "estimate", drift = "estimate" }]"#),
    ("per pixel, forgotten", r#"[{ per = "pixel", variance = "estimate", phi = "estimate" }]"#),
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

    /// The structure that is tried first, and stands for the table while those of others are compared.
    pub(super) fn first(self, document: &DocumentMut) -> Structure {
        match self {
            Self::Process => simplest(document.contains_key("seasonal")),
            Self::Prior => Structure::new("correlated as the process", PRIOR),
            Self::Offsets(_) => Structure::new(OFFSETS[0].0, OFFSETS[0].1),
        }
    }

    /// The structure that is tried after so many others, the best of which was `kept`; `features` is the table of those of a reference
    /// image, if there is one. `None` when all were tried.
    pub(super) fn next(
        self,
        document: &DocumentMut,
        features: Option<&str>,
        tried: usize,
        kept: &Structure,
    ) -> Option<Structure> {
        match self {
            Self::Prior => None,
            Self::Offsets(_) => OFFSETS.get(tried).map(|(name, text)| Structure::new(name, text)),
            Self::Process => {
                let additions = additions(document.contains_key("seasonal"), features);
                additions.get(tried.checked_sub(1)?).map(|(name, text)| kept.with(name, text))
            }
        }
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
    fn every_structure_is_toml_with_something_to_estimate() {
        let mut document = DocumentMut::new();
        let features = Some("{ raster = 'a.tif', scale = 1.0 }");
        // All that are tried when each is kept.
        let all = |table: FreeTable, document: &DocumentMut| {
            let mut all = vec![table.first(document)];
            while let Some(next) = table.next(document, features, all.len(), &all[all.len() - 1]) {
                all.push(next);
            }
            for structure in &all {
                let value: Value = structure.text.parse().unwrap();
                assert!(value.to_string().contains(ESTIMATE), "{}", structure.name);
            }
            all.pop().map(|last| (last.name, all.len() + 1)).unwrap()
        };
        assert_eq!(all(FreeTable::Prior, &document).1, 1);
        assert_eq!(all(FreeTable::Offsets(0), &document).1, 2);
        let told = all(FreeTable::Process, &document);
        assert_eq!(told, ("one range, a further range, like cells alike".into(), 3));
        document.insert("seasonal", toml_edit::table());
        let told = all(FreeTable::Process, &document);
        let name = "one range, drawn back to the mean, like years alike, a further range, variance by season";
        assert_eq!(told, (name.into(), 4));
    }

    #[test]
    fn what_is_not_kept_is_not_in_the_next() {
        let mut document = DocumentMut::new();
        document.insert("seasonal", toml_edit::table());
        let first = FreeTable::Process.first(&document);
        let last = FreeTable::Process.next(&document, None, 3, &first).unwrap();
        assert_eq!(last.name, "one range, drawn back to the mean, variance by season");
        assert!(last.text.contains("season = {") && !last.text.contains("nested") && !last.text.contains("features"));
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
    fn structures_take_the_place_of_the_word_and_leave_the_rest() {
        let text = "process = \"estimate\" # ours\n[[instrument]]\noffset_layer = \"estimate\"\n";
        let mut document: DocumentMut = text.parse().unwrap();
        assert_eq!(free_tables(&document), [FreeTable::Offsets(0), FreeTable::Process]);
        for table in [FreeTable::Process, FreeTable::Offsets(0)] {
            let first = table.first(&document);
            table.put(&mut document, &first);
        }
        assert!(free_tables(&document).is_empty());
        let text = document.to_string();
        assert!(
            text.starts_with("process = { kernel = ")
                && text.contains(" } # ours\n[[instrument]]\noffset_layer = [{ per")
        );
    }
}
