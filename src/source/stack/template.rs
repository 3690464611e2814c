//! Patterns of file names: wildcards, `{band}`, and rasters inside containers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::{Captures, Regex};
use walkdir::WalkDir;

use super::absent::{archives, brackets};
use super::listing;
use crate::error::{Error, Result, masked};
use crate::source::Remote;
use crate::source::gdal::{Subdataset, is_address};

/// Placeholder of a band name in a pattern.
const BAND: &str = "{band}";

/// The texts that match the wildcards of a pattern. The files of one granule share them.
pub(super) type WildcardTexts = Vec<String>;

/// What a pattern finds: by the texts of its wildcards, a name for each band.
pub(super) type Found = BTreeMap<WildcardTexts, Vec<Option<PathBuf>>>;

/// A pattern of file names, `folder/*.{band}.tif`, or of subdataset names, `NETCDF:"folder/*.nc":{band}`.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// The setting that gave the pattern.
    key: &'static str,
    /// The pattern with its folder, for messages.
    text: String,
    /// The text around the path in the name of a subdataset.
    around: (String, String),
    /// The pattern of paths.
    path: String,
    /// What follows the path of an address, with its question mark: a signature.
    query: String,
}

impl Template {
    pub(super) fn new(key: &'static str, pattern: &str, folder: Option<&Path>) -> Self {
        let (around, path) = match Subdataset::parse(pattern) {
            Some(name) => ((name.prefix, name.suffix), name.container.to_string_lossy().into_owned()),
            None => (Default::default(), pattern.to_owned()),
        };
        // Wildcards in the name of the folder itself are escaped.
        let path = match folder {
            Some(folder) if Path::new(&path).is_relative() && !is_address(&path) && !folder.as_os_str().is_empty() => {
                format!("{}/{path}", glob::Pattern::escape(&folder.to_string_lossy()))
            }
            _ => path,
        };
        let (path, query) = match path.split_once('?') {
            Some((before, query)) if path.contains("http") && is_address(&path) => {
                (before.to_owned(), format!("?{query}"))
            }
            _ => (path, String::new()),
        };
        let text = masked(&format!("{}{path}{query}{}", around.0, around.1));
        Self { key, text, around, path, query }
    }

    /// The pattern with its folder.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The pattern of one band's files.
    pub(super) fn text_of(&self, band: &str) -> String {
        self.text.replace(BAND, band)
    }

    /// Whether every band has its own file or subdataset.
    pub(super) fn is_per_band(&self) -> bool {
        self.text.contains(BAND)
    }

    /// Every match, by the texts of its wildcards: a name for each of `bands`, in their order, where the pattern has
    /// `{band}`, and one name otherwise.
    pub(super) fn find(&self, bands: &[String], remote: &Remote) -> Result<Found> {
        let malformed = |problem: String| Error::setting(self.key, format!("{:?} {problem}", self.text));
        // What stands before the folders of an address is no part of what wildcards match.
        let start = if is_address(&self.path) { listing::start_of(&self.path) } else { "" };
        let regex = expression(&self.path[start.len()..], bands)
            .map_err(|error| malformed(format!("cannot be matched: {error}")))?;
        let mut found = BTreeMap::new();
        for path in self.paths(bands, remote)? {
            let whole = path.to_string_lossy();
            let text = Cow::Borrowed(whole.strip_prefix(start).unwrap_or(&whole));
            let Some(captures) = regex.captures(&text) else {
                if !self.is_per_band() {
                    found.insert(vec![text.into_owned()], vec![Some(self.name_of(&path, ""))]);
                }
                continue; // of a band that is not asked for
            };
            let wildcards = groups(&regex, &captures, 'w').map(str::to_owned);
            let mut named = groups(&regex, &captures, 'b');
            let first = named.next();
            if !named.all(|other| Some(other) == first) {
                continue; // a name of two bands
            }
            let slots = if self.is_per_band() { bands.len() } else { 1 };
            let names: &mut Vec<Option<PathBuf>> =
                found.entry(wildcards.collect()).or_insert_with(|| vec![None; slots]);
            for (slot, name) in names.iter_mut().enumerate() {
                let band = bands.get(slot).map_or("", String::as_str);
                if first.is_none_or(|first| first == band) {
                    *name = Some(self.name_of(&path, band));
                }
            }
        }
        Ok(found)
    }

    /// Every path that the pattern may mean, of whichever band.
    fn paths(&self, bands: &[String], remote: &Remote) -> Result<Vec<PathBuf>> {
        let malformed = |problem: String| Error::setting(self.key, format!("{:?} {problem}", self.text));
        let anywhere = self.path.replace(BAND, "*");
        if is_address(&self.path) {
            // Where bands are the only thing that differs, nothing has to be listed.
            let known = self.is_per_band() && !self.path.contains(['*', '?', '[']);
            let patterns =
                if known { bands.iter().map(|band| self.path.replace(BAND, band)).collect() } else { vec![anywhere] };
            let found = patterns.iter().map(|pattern| listing::addresses(pattern, remote).map_err(malformed));
            return Ok(found.collect::<Result<Vec<_>>>()?.into_iter().flatten().map(PathBuf::from).collect());
        }
        if let Some(error) = self.loop_error() {
            return Err(error);
        }
        let paths = glob::glob(&anywhere).map_err(|error| malformed(format!("is not a wildcard pattern: {error}")))?;
        let failed = |error: glob::GlobError| Error::Open {
            path: error.path().to_path_buf(),
            date: None,
            problem: error.error().to_string(),
            source: None,
        };
        paths.map(|entry| entry.map_err(failed)).collect()
    }

    /// The message where files exist, but none of `bands`.
    fn no_band(&self, bands: &[String]) -> Option<String> {
        let anything = self.is_per_band().then(|| glob::glob(&self.path.replace(BAND, "*")).ok()?.flatten().next());
        let other = anything??;
        Some(format!(
            "{{band}} stands for {bands:?}, but there is {}; fix `source_bands`, whose case counts, or the pattern",
            other.display()
        ))
    }

    /// The folder in which the search begins: the part of the path before any wildcard.
    fn fixed_folder(&self) -> String {
        let fixed: Vec<&str> = self.path.split('/').take_while(|part| !part.contains(['*', '?', '[', '{'])).collect();
        fixed.join("/")
    }

    /// The error where `**` would search a folder that lies within itself by a link, again and again.
    fn loop_error(&self) -> Option<Error> {
        if !self.path.split('/').any(|part| part == "**") {
            return None;
        }
        let folder = self.fixed_folder();
        let root = match folder.as_str() {
            "" if self.path.starts_with('/') => "/",
            "" => ".",
            folder => folder,
        };
        let walk = WalkDir::new(root).follow_links(true);
        let error = walk.into_iter().filter_map(Result::err).find(|error| error.loop_ancestor().is_some())?;
        let ancestor = error.loop_ancestor()?.display().to_string();
        Some(Error::Open {
            path: error.path()?.to_path_buf(),
            date: None,
            problem: format!(
                "it is a link to {ancestor}, in which it lies, and `**` searches all folders; remove it, or narrow `{}`",
                self.key
            ),
            source: None,
        })
    }

    /// The error where no file of any of `bands` matches.
    pub(super) fn no_files(&self, bands: &[String]) -> Error {
        if is_address(&self.path) {
            let problem = "nothing that its server lists matches; check address, wildcards and credentials, or name the files in a `list` \
                           where the server gives no lists";
            return Error::NoFiles { key: self.key.into(), pattern: self.text().to_owned(), problem: problem.into() };
        }
        let folder = self.fixed_folder();
        let absent = !folder.is_empty() && !Path::new(&folder).exists();
        let problem = if absent {
            format!("there is no {folder}; check the folder's name")
        } else {
            let known = self.no_band(bands).or_else(|| brackets(&self.path, BAND)).or_else(|| archives(&folder));
            known.unwrap_or_else(|| "check the folder and the wildcard".into())
        };
        Error::NoFiles { key: self.key.into(), pattern: self.text().to_owned(), problem }
    }

    /// GDAL's name of a band in the file.
    fn name_of(&self, path: &Path, band: &str) -> PathBuf {
        let (prefix, suffix) = &self.around;
        if prefix.is_empty() && self.query.is_empty() {
            return path.to_path_buf();
        }
        format!("{prefix}{}{}{}", path.display(), self.query, suffix.replace(BAND, band)).into()
    }
}

/// The file of a name: the container of a subdataset, or the path itself.
pub(super) fn file_of(name: &Path) -> PathBuf {
    Subdataset::parse(&name.to_string_lossy()).map_or_else(|| name.to_path_buf(), |name| name.container)
}

/// The name of a file, those of its folders from the nearest on, and the whole path, in which a pattern may look: what is
/// said nearest to the file counts.
pub(super) fn nearest_first(file: &Path) -> impl Iterator<Item = Cow<'_, str>> {
    let names = file.ancestors().filter_map(Path::file_name).map(|name| name.to_string_lossy());
    names.chain([file.to_string_lossy()])
}

/// The texts of the groups of one kind; a `**` may match nothing.
fn groups<'t>(regex: &Regex, captures: &Captures<'t>, kind: char) -> impl Iterator<Item = &'t str> {
    let named = regex.capture_names().zip(captures.iter());
    named
        .filter(move |(name, _)| name.is_some_and(|name| name.starts_with(kind)))
        .map(|(_, text)| text.map_or("", |m| m.as_str()))
}

/// The regular expression that matches what the wildcards match, with groups `w0`, `w1`, ... for the wildcards and
/// `b0`, ... for each `{band}`.
fn expression(pattern: &str, bands: &[String]) -> Result<Regex, regex::Error> {
    let bands: Vec<String> = bands.iter().map(|band| regex::escape(band)).collect();
    let (mut text, mut rest, mut wildcards, mut named) = (String::from("(?s)^"), pattern, 0, 0);
    let mut group = |inner: &str| {
        wildcards += 1;
        format!("(?P<w{}>{inner})", wildcards - 1)
    };
    while let Some(next) = rest.chars().next() {
        // Paths from the search contain neither "./" nor doubled slashes.
        let at_start = rest.len() == pattern.len() || text.ends_with('/');
        let mut taken = next.len_utf8();
        if rest.starts_with(BAND) {
            text.extend(["(?P<b", &named.to_string(), ">", &bands.join("|"), ")"]);
            named += 1;
            taken = BAND.len();
        } else if at_start && rest.starts_with("./") {
            taken = 2;
        } else if rest.starts_with("**/") {
            text.extend(["(?:", &group(".*?"), "/)?"]);
            taken = 3;
        } else if next == '*' {
            text += &group("[^/]*");
        } else if next == '?' {
            text += &group("[^/]");
        } else if let Some((class, length)) = character_class(rest) {
            text += &group(&class);
            taken = length;
        } else if !(next == '/' && text.ends_with('/')) {
            text += &regex::escape(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    Regex::new(&(text + "$"))
}

/// `[abc]` and `[!a-z]` in the syntax of regular expressions, and their length in the pattern.
fn character_class(rest: &str) -> Option<(String, usize)> {
    let inner = rest.strip_prefix('[')?;
    let (not, body) = inner.strip_prefix('!').map_or(("", inner), |body| ("^", body));
    // A bracket in first position is literal.
    let end = body.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
    let escaped: String = body[..end]
        .chars()
        .map(|c| if matches!(c, '[' | ']' | '\\' | '^' | '&' | '~') { format!("\\{c}") } else { c.to_string() })
        .collect();
    Some((format!("[{not}{escaped}]"), rest.len() - body.len() + end + 1))
}

/// Matches a path with a pattern, both of anybody's making.
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) fn fuzz(pattern: &str, band: &str, path: &str) {
    let template = Template::new("files", pattern, Some(Path::new("folder")));
    let bands = [band.to_owned(), "red".to_owned()];
    let _ = (template.text_of(band), template.name_of(Path::new(path), band), file_of(Path::new(pattern)));
    let _ = glob::Pattern::new(&template.path);
    if let Ok(regex) = expression(&template.path, &bands)
        && let Some(captures) = regex.captures(path)
    {
        let _ = groups(&regex, &captures, 'w').count() + groups(&regex, &captures, 'b').count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pattern: &str, path: &str, bands: &[&str]) -> Option<(WildcardTexts, Option<String>)> {
        let bands: Vec<String> = bands.iter().map(ToString::to_string).collect();
        let regex = expression(pattern, &bands).unwrap();
        let captures = regex.captures(path)?;
        let wildcards = groups(&regex, &captures, 'w').map(str::to_owned).collect();
        Some((wildcards, groups(&regex, &captures, 'b').next().map(str::to_owned)))
    }

    #[test]
    fn wildcards_and_bands_are_captured() {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let hls = "hls/HLS.S30.*.{band}.tif";
        assert_eq!(
            key(hls, "hls/HLS.S30.T11SKU.2024123T183919.v2.0.B04.tif", &["B04", "B8A"]),
            Some((texts(&["T11SKU.2024123T183919.v2.0"]), Some("B04".into())))
        );
        assert_eq!(key(hls, "hls/HLS.S30.T11SKU.2024123T183919.v2.0.B05.tif", &["B04", "B8A"]), None);
        assert_eq!(key("./a//b[13]_?.tif", "a/b3_x.tif", &[]), Some((texts(&["3", "x"]), None)));
        assert_eq!(key("a/[!0-9][[]*.tif", "a/x[y.tif", &[]), Some((texts(&["x", "[", "y"]), None)));
        assert_eq!(key("r/**/B*.tif", "r/B1.tif", &[]).unwrap().0, ["", "1"]);
        assert_eq!(key("r/**/B1.tif", "r/x/y/B1.tif", &[]).unwrap().0, ["x/y"]);
        assert_eq!(key("a.b/*.tif", "aXb/1.tif", &[]), None);
    }
}
