//! Groups of acquisitions that share offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Error, Result};
use crate::geometry::Date;
#[cfg(feature = "gdal")]
use crate::source::RasterSource;

/// The group of each acquisition of an instrument, such as an orbit path or a satellite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcquisitionGroups {
    /// In the order of their names.
    names: Vec<String>,
    of_date: BTreeMap<Date, usize>,
}

impl AcquisitionGroups {
    /// The group of each date, by name. If a date is listed twice, the first entry applies. Dates that are not listed
    /// have no offset of the layer.
    pub fn new<S: Into<String>>(dates: impl IntoIterator<Item = (Date, S)>) -> Self {
        let mut named: BTreeMap<Date, String> = BTreeMap::new();
        for (date, name) in dates {
            named.entry(date).or_insert_with(|| name.into());
        }
        let names: BTreeSet<&String> = named.values().collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let index = |name: &String| names.binary_search(name).ok();
        let of_date = named.iter().filter_map(|(date, name)| Some((*date, index(name)?))).collect();
        Self { names, of_date }
    }

    /// Names of the groups, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The group of a date, as a position among the names.
    #[must_use]
    pub fn group_of(&self, date: Date) -> Option<usize> {
        self.of_date.get(&date).copied()
    }

    /// Groups from a table with a header and the columns date (`YYYY-MM-DD`) and group.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the file and line that cannot be read.
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |problem: String| Error::setting("group", format!("{}: {problem}", path.display()));
        let mut table = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(path)
            .map_err(|error| refuse(error.to_string()))?;
        let mut groups: BTreeMap<Date, String> = BTreeMap::new();
        for row in table.records() {
            let row = row.map_err(|error| refuse(error.to_string()))?;
            let line = row.position().map_or(0, csv::Position::line);
            let (Some(date), Some(group)) = (row.get(0), row.get(1)) else {
                return Err(refuse(format!("line {line}: one column; give date and group")));
            };
            let date: Date =
                date.parse().map_err(|_| refuse(format!("line {line}: {date:?} is not a date YYYY-MM-DD")))?;
            if let Some(other) = groups.get(&date).filter(|other| *other != group) {
                return Err(refuse(format!("line {line}: {date} is of group {group:?} and of {other:?}")));
            }
            groups.insert(date, group.to_owned());
        }
        Ok(Self::new(groups))
    }

    /// Groups by the first capture group of the regular expression `pattern` in the path of each acquisition's file.
    ///
    /// # Errors
    /// [`Error::Setting`] when the pattern is malformed or does not match the path of an acquisition, or when the
    /// source has no files.
    #[cfg(feature = "gdal")]
    pub fn from_paths(source: &dyn RasterSource, pattern: &str) -> Result<Self> {
        let refuse = |problem: String| Error::setting("group", problem);
        let regex = regex::Regex::new(pattern).map_err(|error| refuse(format!("not a regular expression: {error}")))?;
        if regex.captures_len() < 2 {
            return Err(refuse(format!("'{pattern}' has no capture group; put the group's name in parentheses")));
        }
        let group = |&date: &Date| {
            let path = source.path_of(date).ok_or_else(|| {
                let problem = "has no file for each date; give a table";
                refuse(format!("{} {problem}", source.origin()))
            })?;
            let path = path.to_string_lossy();
            let found = regex.captures(&path).and_then(|groups| groups.get(1));
            let found = found.ok_or_else(|| refuse(format!("'{pattern}' finds nothing in {path} ({date})")))?;
            Ok((date, found.as_str().to_owned()))
        };
        Ok(Self::new(source.dates().iter().map(group).collect::<Result<Vec<_>>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_date() {
        let day = Date::from_days;
        let groups = AcquisitionGroups::new([(day(3), "191"), (day(1), "190"), (day(8), "191")]);
        assert_eq!(groups.names(), ["190", "191"]);
        assert_eq!(
            (groups.group_of(day(8)), groups.group_of(day(1)), groups.group_of(day(2))),
            (Some(1), Some(0), None)
        );
        // The first counts.
        let twice = AcquisitionGroups::new([(day(1), "190"), (day(1), "189"), (day(2), "191")]);
        assert_eq!((twice.names(), twice.group_of(day(1))), (&["190".to_owned(), "191".to_owned()][..], Some(0)));
    }

    #[test]
    fn tables_are_read_and_refused_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orbits.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            AcquisitionGroups::from_csv(&path)
        };
        let groups = read("date,group\n2024-05-01, 190\n2024-05-08,191\n").unwrap();
        assert_eq!(groups.group_of(Date::from_ymd(2024, 5, 8).unwrap()), Some(1));
        for (text, words) in [
            ("date,group\n2024-05-01,190\n2024-05-01,191\n", "line 3"),
            ("date,group\n01.05.2024,190\n", "line 2"),
            ("date\n2024-05-01\n", "give date and group"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("orbits.csv"), "{message}");
        }
    }
}
