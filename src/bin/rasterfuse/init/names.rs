//! How plain rasters are named: where their dates are, which files are bands of one image, which say where clouds are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use rasterfuse::geometry::Date;
use regex::Regex;

/// Files whose names follow one pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NamePattern {
    /// Wildcard pattern, with `{band}` where there is a file for each band.
    pub(crate) pattern: String,
    /// Regular expression whose first group is the date, and its `strftime` form.
    pub(crate) date: (String, String),
    /// What `{band}` stands for.
    pub(crate) bands: Vec<String>,
    /// Pattern of the files that say where clouds are, and what kind they are of.
    pub(crate) quality: Option<(String, String)>,
    pub(crate) dates: BTreeSet<Date>,
    /// Whether a date has several images.
    pub(crate) mosaic: bool,
    /// What the names begin with.
    pub(crate) stem: String,
}

/// How a date is found: regular expression and `strftime` form.
type Rule = (&'static str, &'static str);

/// Where a date may be in a name, the surest first.
const DATES: [Rule; 4] = [
    (r"(\d{4}-\d{2}-\d{2})", "%Y-%m-%d"),
    (r"(\d{4}_\d{2}_\d{2})", "%Y_%m_%d"),
    (r"(?:^|\D)(\d{8})(?:\D|$)", "%Y%m%d"),
    (r"(?:^|\D)(\d{7})(?:\D|$)", "%Y%j"),
];

/// What differs between images of one series: dates, times, long numbers, tiles of the MGRS grid.
static VARYING: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\d{4}[-_]\d{2}[-_]\d{2}(?:T\d{4,6}Z?)?|\d{6,}(?:T\d{4,6}Z?)?").ok());
static TILE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(^|[_./])T\d{2}[A-Z]{3}([_./])").ok());
static BAND: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "blue|green|red|nir|nir_?narrow|swir_?\\d?|red_?edge_?\\d?|rededge\\d?|coastal|pan|vv|vh|hh|hv|evi|lst";
    Regex::new(&format!(r"(?i)^(?:b\d{{1,2}}a?|band_?\d{{1,3}}|i\d|m\d{{1,2}}|{names})$")).ok()
});

/// Words for rasters of quality.
const QUALITY: [&str; 8] = ["scl", "fmask", "qa", "qc", "cloud", "clouds", "cloudmask", "mask"];

/// What quality rasters of a kind hide: classes, and bits. Of kinds that are not published products' nothing is known.
pub(crate) fn hidden(kind: &str) -> Option<(&'static [u32], &'static [u32])> {
    match kind {
        "scl" => Some((&[0, 1, 3, 8, 9, 10], &[])),
        "fmask" => Some((&[], &[1, 2, 3])),
        _ => None,
    }
}

/// The date in a name, or in its path, and how it was found.
pub(crate) fn date_of(path: &str) -> Option<(Date, Rule)> {
    let name = path.rsplit('/').next().unwrap_or(path);
    [name, path].into_iter().find_map(|text| {
        DATES.into_iter().find_map(|(pattern, format)| {
            let date = Date::parse(Regex::new(pattern).ok()?.captures(text)?.get(1)?.as_str(), format).ok()?;
            (("1950-01-01".parse().ok()?..="2100-12-31".parse().ok()?).contains(&date))
                .then_some((date, (pattern, format)))
        })
    })
}

/// One word of a file's name that stands for a band or for quality: the name around it, and the word.
fn word(signature: &str, is: impl Fn(&str) -> bool) -> Option<((String, String), String)> {
    let name = signature.rfind('/').map_or(0, |slash| slash + 1);
    let end = signature.rfind('.').filter(|dot| *dot > name).unwrap_or(signature.len());
    let mut start = name;
    let mut words = Vec::new();
    for (at, letter) in signature[name..end].char_indices() {
        if matches!(letter, '_' | '.' | '-') {
            words.push(start..name + at);
            start = name + at + 1;
        }
    }
    words.push(start..end);
    let found = words.into_iter().rev().find(|range| is(&signature[range.clone()]))?;
    let around = (signature[..found.start].to_owned(), signature[found.end..].to_owned());
    Some((around, signature[found].to_owned()))
}

/// What finds the dates of these images: where it does, what their names begin with and the date behind it.
fn date_pattern(name: &str, rule: Rule, images: &[(Date, &str)]) -> String {
    let digits = rule.0.trim_start_matches(r"(?:^|\D)").trim_end_matches(r"(?:\D|$)");
    let short = format!("{}{digits}", regex::escape(name.split('*').next().unwrap_or_default()));
    let finds = |regex: &Regex| {
        images.iter().all(|(date, path)| {
            let found = regex.captures(path.rsplit('/').next().unwrap_or(path)).and_then(|groups| groups.get(1));
            found.is_some_and(|text| Date::parse(text.as_str(), rule.1).is_ok_and(|found| found == *date))
        })
    };
    let begins = name.contains('*') && !name.starts_with('*');
    let shorter = [begins.then_some(short), Some(format!("_{digits}"))].into_iter().flatten();
    let mut shorter = shorter.filter(|short| Regex::new(short).is_ok_and(|regex| finds(&regex)));
    shorter.next().unwrap_or_else(|| rule.0.to_owned())
}

/// A path as a wildcard pattern: what varies is `*`.
fn signature(path: &str) -> String {
    let escaped = glob::Pattern::escape(path);
    let Some((varying, tile)) = VARYING.as_ref().zip(TILE.as_ref()) else { return escaped };
    varying.replace_all(&tile.replace_all(&escaped, "${1}*${2}"), "*").into_owned()
}

/// Images that are of one style of name but for the word that stands for a band: by that word, each with its date.
type ByBand<'a> = BTreeMap<String, Vec<(Date, &'a str)>>;

/// Paths, relative and with `/`, by how they are named; and those without a date.
pub(crate) fn patterns(paths: &[String]) -> (Vec<NamePattern>, Vec<String>) {
    let is_band = |word: &str| BAND.as_ref().is_some_and(|band| band.is_match(word));
    let is_quality = |word: &str| QUALITY.contains(&word.to_ascii_lowercase().as_str());
    let mut data: BTreeMap<((String, String), Rule), ByBand<'_>> = BTreeMap::new();
    let mut quality: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut undated = Vec::new();
    for path in paths {
        let Some((date, rule)) = date_of(path) else {
            undated.push(path.clone());
            continue;
        };
        let signature = signature(path);
        if let Some((around, kind)) = word(&signature, is_quality) {
            quality.insert(around, kind);
            continue;
        }
        let (around, band) = word(&signature, is_band).unwrap_or(((signature, String::new()), String::new()));
        data.entry((around, rule)).or_default().entry(band).or_default().push((date, path));
    }
    let pattern = |((around, rule), group): (((String, String), Rule), ByBand<'_>)| {
        let (before, after) = &around;
        // Every image must have every band.
        let most = group.values().map(Vec::len).max().unwrap_or(0);
        let full: ByBand<'_> = group.into_iter().filter(|(_, images)| images.len() == most).collect();
        let bands: Vec<String> = full.keys().filter(|band| !band.is_empty()).cloned().collect();
        let images: Vec<(Date, &str)> = full.into_values().flatten().collect();
        let dates: BTreeSet<Date> = images.iter().map(|(date, _)| *date).collect();
        let place = if bands.is_empty() { "" } else { "{band}" };
        let name = before.rsplit('/').next().unwrap_or(before);
        NamePattern {
            pattern: format!("{before}{place}{after}"),
            date: (date_pattern(name, rule, &images), rule.1.to_owned()),
            quality: quality.get(&around).map(|kind| (format!("{before}{kind}{after}"), kind.to_ascii_lowercase())),
            mosaic: most > dates.len(),
            bands,
            dates,
            stem: name.chars().take_while(char::is_ascii_alphabetic).collect(),
        }
    };
    (data.into_iter().map(pattern).collect(), undated)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Vec<NamePattern> {
        patterns(&paths.iter().map(ToString::to_string).collect::<Vec<_>>()).0
    }

    #[test]
    fn dates_are_found_in_names_and_folders() {
        for (path, date) in [
            ("landsat_20200308.tif", "2020-03-08"),
            ("2023-04-03/B04.tif", "2023-04-03"),
            ("MOD_A2023091.tif", "2023-04-01"),
            ("x_2023_04_03_12345678.tif", "2023-04-03"),
            ("S2A_20230403T101559_N0509.tif", "2023-04-03"),
        ] {
            assert_eq!(date_of(path).unwrap().0, date.parse().unwrap(), "{path}");
        }
        assert_eq!(date_of("dem_12345678.tif"), None);
        assert_eq!(date_of("7/dem.tif"), None);
    }

    #[test]
    fn bands_in_files_of_their_own_are_one_image() {
        let found = of(&[
            "2023-04-03/T33TVM_20230403_B04.tif",
            "2023-04-03/T33TVM_20230403_B8A.tif",
            "2023-04-03/T33TVM_20230403_SCL.tif",
            "2023-04-12/T33TVM_20230412_B04.tif",
            "2023-04-12/T33TVM_20230412_B8A.tif",
            "2023-04-12/T33TVM_20230412_B11.tif",
            "2023-04-12/T33TVM_20230412_SCL.tif",
        ]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pattern, "*/*_*_{band}.tif");
        assert_eq!(found[0].bands, ["B04", "B8A"]);
        assert_eq!(found[0].quality, Some(("*/*_*_SCL.tif".into(), "scl".into())));
        assert_eq!((found[0].dates.len(), found[0].mosaic), (2, false));
    }

    #[test]
    fn series_of_several_names_are_several_instruments() {
        let found = of(&["landsat_20200308.tif", "modis_20200308.tif", "modis_20200309.tif"]);
        assert_eq!(found[0].date, (r"landsat_(\d{8})".into(), "%Y%m%d".into()));
        let patterns: Vec<(&str, &str, usize)> =
            found.iter().map(|one| (one.pattern.as_str(), one.stem.as_str(), one.dates.len())).collect();
        assert_eq!(patterns, [("landsat_*.tif", "landsat", 1), ("modis_*.tif", "modis", 2)]);
    }

    #[test]
    fn tiles_of_a_date_are_a_mosaic() {
        let found = of(&["T33TVM_20230403_B04.tif", "T33TVN_20230403_B04.tif"]);
        assert_eq!((found.len(), found[0].mosaic), (1, true));
    }
}
