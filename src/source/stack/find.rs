//! Search for files: from patterns to dated granules and their partner files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::builder::Files;
use super::granule::Granule;
use super::template::{Template, WildcardTexts, file_of, nearest_first};
use super::{Pattern, StackBuilder};
use crate::error::{Error, Result, shown};
use crate::geometry::Date;
use crate::source::quality::AncillaryLocation;

/// How a date is read from a file name.
#[derive(Debug)]
struct DateRule<'a> {
    key: &'static str,
    pattern: &'a str,
    regex: Regex,
    format: &'a str,
}

impl<'a> DateRule<'a> {
    fn new(key: &'static str, pattern: &'a str, format: &'a str) -> Result<Self> {
        let regex =
            Regex::new(pattern).map_err(|error| Error::setting(key, format!("not a regular expression: {error}")))?;
        if regex.captures_len() < 2 {
            return Err(Error::setting(key, format!("'{pattern}' has no capture group; put the date in parentheses")));
        }
        Ok(Self { key, pattern, regex, format })
    }

    /// The date in the name of a file, or else in that of the nearest folder that holds one, or in its path.
    fn date_of(&self, file: &Path) -> Result<Date> {
        let no_date = |problem: String| Error::NoDate {
            key: self.key.into(),
            path: file.to_path_buf(),
            pattern: self.pattern.to_owned(),
            format: self.format.to_owned(),
            problem,
        };
        let (key, files) = (self.key, if self.key == "date" { "`files`" } else { "its `files`" });
        let captured =
            nearest_first(file).find_map(|text| Some(self.regex.captures(&text)?.get(1)?.as_str().to_owned()));
        let Some(text) = captured else {
            return Err(no_date(format!(
                "`{key}` matches neither its name nor its path; narrow {files} or fix `{key}`"
            )));
        };
        Date::parse(&text, self.format).map_err(|_| {
            no_date(format!("{text:?} is not a date of this format; fix `{key}` or `{key}_format`, or narrow {files}"))
        })
    }
}

/// The files of one quality rule, or of uncertainty, that accompany the data.
struct Partners {
    key: &'static str,
    template: Template,
    /// Files by the text that identifies their granule.
    files: BTreeMap<WildcardTexts, Partner>,
    by_date: bool,
    /// Whether no name matches any name of the data.
    other_style: bool,
}

struct Partner {
    names: Vec<Option<PathBuf>>,
    taken: bool,
}

impl StackBuilder {
    /// Files that the pattern finds by their names alone: of each granule the date, and a file for each source band where there is
    /// a file for each, one otherwise. Granules whose names hold no date are left out.
    pub(crate) fn names(&self) -> Result<Vec<(Date, Vec<Option<PathBuf>>)>> {
        let Files::Pattern(pattern) = &self.files else { return Ok(Vec::new()) };
        let bands = self.source_bands.as_deref().unwrap_or_default();
        let dates = DateRule::new("date", &pattern.date, &pattern.date_format)?;
        let found =
            Template::new("files", &pattern.files, pattern.folder.as_deref()).find(bands, self.drivers.remote())?;
        let dated = found.into_values().filter_map(|files| {
            let date = dates.date_of(&file_of(files.iter().flatten().next()?)).ok()?;
            Some((date, files))
        });
        Ok(dated.collect())
    }

    /// Every granule that the pattern finds, in the order of its file names.
    pub(super) fn granules(&self, pattern: &Pattern) -> Result<Vec<Granule>> {
        let bands = self.source_bands.as_deref().unwrap_or_default();
        let template = Template::new("files", &pattern.files, pattern.folder.as_deref());
        if template.is_per_band() && bands.is_empty() {
            return Err(Error::setting(
                "source_bands",
                format!(
                    "not given; list what {{band}} stands for in {:?}, such as [\"B04\", \"B05\"]",
                    template.text()
                ),
            ));
        }
        let dates = DateRule::new("date", &pattern.date, &pattern.date_format)?;
        let found = template.find(bands, self.drivers.remote())?;
        if found.is_empty() {
            return Err(template.no_files(bands));
        }
        let mut partners = self.partners(pattern, bands, &found)?;
        let mut granules = Vec::with_capacity(found.len());
        for (key, names) in found {
            let Some(first) = names.iter().flatten().next() else { continue };
            let date = dates.date_of(&file_of(first))?;
            let absent: Vec<&String> =
                bands.iter().zip(&names).filter(|(_, name)| name.is_none()).map(|(band, _)| band).collect();
            let mut granule = Granule::new(date, names.into_iter().flatten());
            let mut missing = Vec::new();
            for band in absent {
                let what = format!("band {band:?}");
                missing.push(granule.missing_error(
                    &what,
                    &template.text_of(band),
                    add_it_or("take the band out of `source_bands` (with a preset, name those there are)"),
                ));
            }
            for partners in &mut partners {
                let files = partners.take(&key, date);
                let (what, text) = (format!("`{}`", partners.key), partners.template.text());
                let files = match files {
                    Some(files) if files.iter().all(Option::is_some) => files.into_iter().flatten().collect(),
                    _ => {
                        missing.push(granule.missing_error(&what, text, partners.advice()));
                        Vec::new()
                    }
                };
                if partners.key == "quality" {
                    granule.quality.push(files);
                } else {
                    granule.uncertainty = files;
                }
            }
            if let Some(error) = missing.into_iter().next() {
                let Error::NoPartner { path, what, .. } = &error else { return Err(error) };
                if !self.lenient {
                    return Err(error);
                }
                granule.fault = Some((path.clone(), format!("{what} is missing")));
            }
            granules.push(granule);
        }
        granules.sort_by(|a, b| (a.date, a.name()).cmp(&(b.date, b.name())));
        if granules.is_empty() {
            return Err(template.no_files(bands));
        }
        match partners.iter().find_map(|partners| partners.unmatched_error(&template)) {
            Some(error) if !self.lenient => Err(error),
            _ => Ok(granules),
        }
    }

    /// The partner files of `data`.
    fn partners<T>(
        &self,
        pattern: &Pattern,
        bands: &[String],
        data: &BTreeMap<WildcardTexts, T>,
    ) -> Result<Vec<Partners>> {
        let quality = self.quality.iter().map(|quality| ("quality", &quality.location, quality.date.as_ref()));
        let uncertainty =
            self.uncertainty.iter().flat_map(|one| &one.locations).map(|location| ("uncertainty", location, None));
        let mut all = Vec::new();
        for (key, location, date) in quality.chain(uncertainty) {
            let AncillaryLocation::Files(files) = location else { continue };
            let template = Template::new(key, files, pattern.folder.as_deref());
            let rule = date.map(|(date, format)| DateRule::new("quality.date", date, format)).transpose()?;
            let mut found = BTreeMap::new();
            for (wildcards, names) in template.find(bands, self.drivers.remote())? {
                let Some(first) = names.iter().flatten().next().cloned() else { continue };
                let mark = match &rule {
                    Some(rule) => vec![rule.date_of(&file_of(&first))?.to_string()],
                    None => identifying_texts(&wildcards),
                };
                if let Some(other) = found.insert(mark, Partner { names, taken: false }) {
                    return Err(ambiguous(key, other.names.iter().flatten().next(), &first));
                }
            }
            if found.is_empty() {
                return Err(template.no_files(bands));
            }
            let by_date = rule.is_some();
            let other_style = !by_date && !data.keys().any(|key| found.contains_key(&identifying_texts(key)));
            all.push(Partners { key, template, files: found, by_date, other_style });
        }
        Ok(all)
    }
}

/// The wildcard texts that identify a granule: a `**` may match no folder, so empty texts are left out.
fn identifying_texts(key: &WildcardTexts) -> WildcardTexts {
    key.iter().filter(|text| !text.is_empty()).cloned().collect()
}

fn ambiguous(key: &str, one: Option<&PathBuf>, other: &Path) -> Error {
    let one = one.map(|path| shown(path)).unwrap_or_default();
    let other = shown(other);
    Error::setting(
        key,
        format!(
            "{one} and {other} would go with the same data; narrow the pattern of `{key}`, or leave out its `date`, so that wildcards \
             show which data they belong to"
        ),
    )
}

impl Partners {
    /// The files of a granule. Matched by date, files may serve several granules.
    fn take(&mut self, key: &WildcardTexts, date: Date) -> Option<Vec<Option<PathBuf>>> {
        let mark = if self.by_date { vec![date.to_string()] } else { identifying_texts(key) };
        let partner = self.files.get_mut(&mark)?;
        partner.taken = true;
        Some(partner.names.clone())
    }

    /// Advice for a missing partner file.
    fn advice(&self) -> String {
        match (self.key, self.other_style) {
            ("quality", true) => "no file of `quality` has the texts of the wildcards of `files`; where its names are of another style, \
                                  give `quality.date`, a regular expression whose first group is the date (and `quality.date_format`), \
                                  to find it by date, or leave out `quality`"
                .into(),
            (key, true) => format!(
                "no file of `{key}` has the texts of the wildcards of `files`; name its files as those of the data, or leave it out"
            ),
            (key, false) => add_it_or(&format!("leave out `{key}`")),
        }
    }

    /// The error for partner files that no granule uses.
    fn unmatched_error(&self, data: &Template) -> Option<Error> {
        let lone = self.files.values().find(|partner| !partner.taken)?;
        let path = lone.names.iter().flatten().next()?.clone();
        let (key, text) = (self.key, self.template.text());
        Some(Error::NoPartner {
            path,
            date: None,
            what: "data".into(),
            pattern: data.text().to_owned(),
            advice: format!("add the data, or remove this file or narrow {text:?} of `{key}`"),
        })
    }
}

impl Granule {
    /// The error for a missing file of this granule.
    fn missing_error(&self, what: &str, pattern: &str, advice: String) -> Error {
        Error::NoPartner {
            path: self.name().to_path_buf(),
            date: Some(self.date),
            what: what.to_owned(),
            pattern: pattern.to_owned(),
            advice,
        }
    }
}

fn add_it_or(instead: &str) -> String {
    format!("add the file, or take this acquisition out of `files`, or {instead}")
}
