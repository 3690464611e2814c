//! Reads which file of `src` names items of which other file, from the sources alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A path as written, one string per segment: `crate::describe::Prior`.
type Segments = Vec<String>;

/// Keywords that a definition's name follows.
const DEFINES: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

/// What one file says.
#[derive(Debug, Default)]
struct Unit {
    file: String,
    /// Names that it defines.
    defined: BTreeSet<String>,
    /// Names that it imports or re-exports, each with its path.
    imported: BTreeMap<String, Segments>,
    /// Paths whose items its own code uses.
    used: Vec<Segments>,
}

/// The modules of a crate, by path: empty for the root, `engine::plan` for `src/engine/plan.rs`.
#[derive(Debug, Default)]
pub(crate) struct House(BTreeMap<String, Unit>);

/// From file to file, with the names that the first takes from the second.
pub(crate) type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

impl House {
    /// Reads every file under `src` that is not of tests, nor of a binary, which is a crate of its own.
    pub(crate) fn read(src: &Path) -> std::io::Result<Self> {
        let mut sources = Vec::new();
        let mut folders = vec![src.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.strip_prefix(src).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                if path.is_dir() && name != "bin" {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
                    sources.push((name, std::fs::read_to_string(&path)?));
                }
            }
        }
        Ok(Self::of(sources.iter().map(|(name, text)| (name.as_str(), text.as_str()))))
    }

    /// The house of some files, given by their paths inside `src` and their texts.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let units = files.into_iter().map(|(file, text)| (module_of(file), Unit::read(file, text)));
        Self(units.collect())
    }

    /// Which file uses what of which other. Re-exports are looked through: who uses `engine::Plan` uses `engine/plan.rs`.
    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, unit) in &self.0 {
            for path in &unit.used {
                let Some(target) = self.resolve(module, path, 0) else { continue };
                if target != module && !target.is_empty() {
                    let names = arrows.entry((unit.file.clone(), self.0[target].file.clone())).or_default();
                    names.insert(path.last().cloned().unwrap_or_default());
                }
            }
        }
        arrows
    }

    /// The module that defines what `path` names inside `module`; `None` for other crates and local names.
    fn resolve<'a>(&'a self, module: &'a str, path: &[String], depth: usize) -> Option<&'a str> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => self.module("")?,
            "self" => module,
            "super" => self.module(module.rsplit_once("::").map_or("", |(parent, _)| parent))?,
            _ => {
                rest = path;
                module
            }
        };
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                at = self.module(at.rsplit_once("::").map_or("", |(parent, _)| parent))?;
            } else if let Some(child) = self.module(&join(at, name)) {
                at = child;
            } else if self.0[at].defined.contains(name) {
                return Some(at);
            } else {
                // An import is followed to where it leads, unless it leads in a ring.
                let import = self.0[at].imported.get(name).filter(|_| depth < 16)?;
                let target: Segments = import.iter().chain(after).cloned().collect();
                return self.resolve(at, &target, depth + 1);
            }
            rest = after;
        }
        Some(at)
    }

    fn module(&self, path: &str) -> Option<&str> {
        self.0.get_key_value(path).map(|(path, _)| path.as_str())
    }
}

/// The room of a file: its first folder, or itself.
pub(crate) fn room(file: &str) -> &str {
    file.split_once('/').map_or(file, |(room, _)| room).trim_end_matches(".rs")
}

fn module_of(file: &str) -> String {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { String::new() } else { path.replace('/', "::") }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.into() } else { format!("{module}::{name}") }
}

impl Unit {
    fn read(file: &str, text: &str) -> Self {
        let tokens = without_tests(tokens(text));
        let mut this = Self { file: file.into(), ..Self::default() };
        let mut exports = Vec::new();
        let mut names = BTreeSet::new();
        let mut at = 0;
        while at < tokens.len() {
            let before = at.checked_sub(1).map_or("", |before| tokens[before].as_str());
            // `use<'a>` captures lifetimes.
            if tokens[at] == "use" && tokens.get(at + 1).is_some_and(|token| token != "<") {
                let mut tree = Vec::new();
                at = use_tree(&tokens, at + 1, &[], &mut tree);
                let exported = before == "pub" || before == ")";
                for (name, path) in tree {
                    if exported {
                        exports.push((name.clone(), path.clone()));
                    } else {
                        this.used.push(path.clone());
                    }
                    this.imported.insert(name, path);
                }
                continue;
            }
            if DEFINES.contains(&before) && is_name(&tokens[at]) {
                this.defined.insert(tokens[at].clone());
            } else if is_name(&tokens[at]) && before != "mod" {
                let first = at;
                let mut path = vec![tokens[at].clone()];
                while tokens.get(at + 1).is_some_and(|t| t == "::") && tokens.get(at + 2).is_some_and(|t| is_name(t)) {
                    at += 2;
                    path.push(tokens[at].clone());
                }
                names.insert(tokens[first].clone());
                if path.len() > 1 && before != "::" {
                    this.used.push(path);
                }
            }
            at += 1;
        }
        // A re-export that the file's own code never uses hands a name on, and is no arrow of its own.
        this.used.extend(exports.into_iter().filter(|(name, _)| names.contains(name)).map(|(_, path)| path));
        this
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads a tree of imports up to its end: each name that it brings in, with its path. Gives the position after it.
fn use_tree(tokens: &[String], mut at: usize, prefix: &[String], out: &mut Vec<(String, Segments)>) -> usize {
    let mut path = prefix.to_vec();
    let mut alias = None;
    let mut braced = false;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                braced = true;
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}" && token != ";") {
                    at = use_tree(tokens, at, &path, out);
                    at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                }
            }
            "," | "}" | ";" => break,
            "as" => {
                alias = tokens.get(at + 1).cloned();
                at += 1;
            }
            "::" => {}
            "self" if !path.is_empty() => {}
            name => path.push(name.into()),
        }
        at += 1;
    }
    if let (false, Some(last)) = (braced, path.last().cloned()) {
        out.push((alias.unwrap_or(last), path));
    }
    at
}

/// Leaves out `#[cfg(test)]` items: tests may look wherever they like.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().map(String::as_str).take(TEST.len()).eq(TEST) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // To the end of the item: its closing brace, or a semicolon outside of braces.
        let mut depth = 0_usize;
        at += TEST.len();
        while at < tokens.len() {
            let token = tokens[at].as_str();
            at += 1;
            match token {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(token, "}" | ";") {
                break;
            }
        }
    }
    kept
}

/// Names, `::` and single marks; comments, texts and characters are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = raw_text(rest) {
            len
        } else if c == '"' {
            1 + quoted(&rest[1..], '"')
        } else if c == '\'' {
            // A lifetime has no closing mark.
            let mut after = rest[1..].chars();
            let (first, second) = (after.next(), after.next());
            if first == Some('\\') || second == Some('\'') { 1 + quoted(&rest[1..], '\'') } else { 1 }
        } else if is_name(rest) || c.is_ascii_digit() {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        let (token, after) = rest.split_at(len);
        if is_name(token) && !token.contains('"') || token == "::" || len == 1 && c.is_ascii_punctuation() {
            tokens.push(token.into());
        }
        rest = after;
    }
    tokens
}

/// Length of a raw text at the start: `r"…"`, `r#"…"#`.
fn raw_text(rest: &str) -> Option<usize> {
    let marks = rest.strip_prefix('r')?;
    let hashes = marks.len() - marks.trim_start_matches('#').len();
    let body = marks[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(2 + hashes + body.find(&end)? + end.len())
}

/// Length of a quoted text after its opening mark, closing mark included.
fn quoted(body: &str, mark: char) -> usize {
    let mut escaped = false;
    let end = body.char_indices().find(|&(_, c)| {
        let closes = c == mark && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map_or(body.len(), |(at, c)| at + c.len_utf8())
}
