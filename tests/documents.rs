//! What README and `docs/` say can be pasted: descriptions are read with their keys, examples and linked files exist, and every page can
//! be reached. Rust code is compiled by the documentation tests of `guide`.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rasterfuse::config::FusionConfig;
use toml_edit::{DocumentMut, InlineTable, Item, Value};

/// What fragments of a description are put into.
const DESCRIPTION: &str = r#"
target = { like = "fine.tif", bands = ["red"] }
process = { kernel = "none", variance = 1e-4 }
prior = { mean = 0.2, variance = 0.05 }
output = { store = "fused.zarr" }
instrument = [{ name = "fine" }]
"#;

/// Tables of a description that hold for the whole fusion; other keys are an instrument's.
const TABLES: [&str; 12] = [
    "target",
    "time",
    "window",
    "process",
    "prior",
    "seasonal",
    "basis",
    "smoothing",
    "output",
    "estimate",
    "run",
    "instrument",
];

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md")];
    pages.extend(fs::read_dir("docs").unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|end| end == "md"));
    pages.sort();
    pages
}

/// Blocks of code of a language, with the line where each begins.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<bool> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(info), None) => {
                open = Some(info == language);
                if info == language {
                    blocks.push((number + 1, String::new()));
                }
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(true)) => {
                let block = &mut blocks.last_mut().unwrap().1;
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block of code is left open");
    blocks
}

/// Tables and values within braces, without comments.
fn inline(item: Item) -> Value {
    let mut value = item.into_value().unwrap();
    match &mut value {
        Value::Array(array) => {
            let values = std::mem::take(array).into_iter().map(|value| inline(Item::Value(value)));
            *array = values.collect();
        }
        Value::InlineTable(table) => {
            let entries = std::mem::take(table).into_iter().map(|(key, value)| (key, inline(Item::Value(value))));
            *table = entries.collect();
        }
        other => other.decor_mut().clear(),
    }
    value
}

fn fields(value: &mut Value) -> &mut InlineTable {
    value.as_inline_table_mut().unwrap()
}

/// The description with the keys of a fragment in it.
fn embed(fragment: DocumentMut) -> String {
    let mut whole = InlineTable::new();
    for (key, item) in DESCRIPTION.parse::<DocumentMut>().unwrap().into_table() {
        whole.insert(key, inline(item));
    }
    for (key, item) in fragment.into_table() {
        let instruments = whole.get_mut("instrument").unwrap().as_array_mut().unwrap();
        match inline(item) {
            value if !TABLES.contains(&key.as_str()) => merge(fields(instruments.get_mut(0).unwrap()), &key, value),
            // Keys of an instrument alone, such as an offset layer's, belong to the one that is there.
            Value::Array(given) if key == "instrument" => {
                let first = instruments.get(0).unwrap().clone();
                let with = |given: Value| {
                    let mut held = first.clone();
                    merge_all(fields(&mut held), given);
                    held
                };
                *instruments = given.into_iter().map(with).collect();
            }
            value => merge(&mut whole, &key, value),
        }
    }
    DocumentMut::from(whole.into_table()).to_string()
}

fn merge(into: &mut InlineTable, key: &str, value: Value) {
    match into.get_mut(key) {
        Some(held @ Value::InlineTable(_)) if value.is_inline_table() => merge_all(fields(held), value),
        _ => _ = into.insert(key, value),
    }
}

fn merge_all(into: &mut InlineTable, values: Value) {
    let Value::InlineTable(values) = values else { panic!("{values} is no table") };
    values.into_iter().for_each(|(key, value)| merge(into, &key, value));
}

#[test]
fn descriptions_have_keys_that_exist() {
    let mut read = 0;
    for page in pages() {
        for (line, block) in blocks(&fs::read_to_string(&page).unwrap(), "toml") {
            let place = format!("{}:{line}", page.display());
            let table: DocumentMut = block.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
            if table.contains_key("dependencies") {
                continue;
            }
            let whole =
                ["target", "process", "prior", "instrument", "output"].iter().all(|key| table.contains_key(key));
            let text = if whole { block } else { embed(table) };
            FusionConfig::parse(&text, "").unwrap_or_else(|error| panic!("{place}: {error}"));
            read += 1;
        }
    }
    assert!(read > 5, "only {read} descriptions were found");
}

#[test]
fn a_key_that_does_not_exist_is_noticed() {
    for fragment in ["[window]\nwidth = 4", "quality = { masks = 1 }", "[[instrument]]\nnoise = 1e-4"] {
        let whole = embed(fragment.parse().unwrap());
        assert!(FusionConfig::parse(&whole, "").unwrap_err().to_string().contains("unknown key"), "{fragment}");
    }
}

#[test]
fn examples_and_commands_that_are_named_exist() {
    let name = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for command in text.split("--example ").skip(1) {
            let name = name(command);
            let (file, folder) = (format!("examples/{name}.rs"), format!("examples/{name}/main.rs"));
            let exists = Path::new(&file).is_file() || Path::new(&folder).is_file();
            assert!(exists, "{} names the example {name:?}", page.display());
        }
        for command in text.split("`rasterfuse ").skip(1).chain(text.split("\nrasterfuse ").skip(1)) {
            let name = name(command);
            let exists =
                ["", "help"].contains(&name.as_str()) || Path::new(&format!("src/bin/rasterfuse/{name}.rs")).is_file();
            assert!(exists, "{} names the command {name:?}", page.display());
        }
    }
}

/// Paths under a folder, with `/` between their parts.
fn files_of(folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_of(&path, paths);
        } else {
            paths.push(path.display().to_string());
        }
    }
}

#[test]
fn source_files_that_are_named_exist() {
    let mut paths = Vec::new();
    ["src", "tests", "benches", "examples"].iter().for_each(|folder| files_of(Path::new(folder), &mut paths));
    let mut named = 0;
    let is_rust = |name: &str| Path::new(name).extension().is_some_and(|end| end == "rs");
    for page in pages().into_iter().chain([PathBuf::from("CONTRIBUTING.md"), PathBuf::from("CHANGELOG.md")]) {
        let text = fs::read_to_string(&page).unwrap();
        for name in text.split('`').filter(|name| is_rust(name) && !name.contains(char::is_whitespace)) {
            let is_it =
                |path: &String| path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
            assert!(paths.iter().any(is_it), "{} names {name}, which does not exist", page.display());
            named += 1;
        }
    }
    assert!(named > 50, "only {named} files are named");
}

/// Targets of the links of a page, blocks of code aside.
fn links(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut links = Vec::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced {
            links.extend(
                line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned()),
            );
        }
    }
    links
}

/// What a page may be entered by: its headings, as GitHub and rustdoc name them, and anchors written out.
fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| -> String {
        let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches('#')));
    let written = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(id, _)| id.to_owned());
    headings.chain(written).collect()
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(to.exists(), "{} links to {link}", page.display());
            let found = anchor.is_empty() || anchors(&fs::read_to_string(&to).unwrap()).contains(anchor);
            assert!(found, "{} links to {link}: there is no such heading", page.display());
        }
    }
}

#[test]
fn every_page_can_be_reached_and_is_rendered() {
    let guide = fs::read_to_string("src/guide.rs").unwrap();
    for entrance in ["README.md", "docs/README.md"] {
        let linked = links(&fs::read_to_string(entrance).unwrap());
        for page in pages().into_iter().filter(|page| page.starts_with("docs") && !page.ends_with("README.md")) {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            let reached = linked.iter().any(|link| link.split('#').next().is_some_and(|file| file.ends_with(&name)));
            assert!(reached, "{entrance} does not lead to {name}");
            let module = name.trim_end_matches(".md");
            assert!(guide.split_whitespace().any(|word| word == module), "src/guide.rs has no {module}");
        }
    }
}
