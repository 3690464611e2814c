//! Versions of one acquisition: of those that a product was processed to, the best one counts.

use std::collections::BTreeMap;

use regex::Regex;

use super::granule::Granule;
use super::template::{file_of, nearest_first};
use crate::error::{Error, Result, shown};

/// How names say which acquisition files belong to, and in which version.
#[derive(Clone, Debug)]
pub(super) struct Versions(pub(super) String);

/// What orders versions: the groups `first` and `then`; one that has none is the lowest.
type Rank = (String, String);

impl Versions {
    /// Leaves the best version of each acquisition, and tells which others there are. Granules of one version are parts
    /// of it and stay together, and so does what the pattern does not match.
    ///
    /// # Errors
    /// [`Error::Setting`] for a malformed pattern.
    pub(super) fn choose(&self, granules: Vec<Granule>) -> Result<Vec<Granule>> {
        let regex = Regex::new(&self.0)
            .map_err(|error| Error::setting("versions", format!("not a regular expression: {error}")))?;
        let named: Vec<Option<(String, Rank)>> = granules.iter().map(|granule| named(granule, &regex)).collect();
        let mut best: BTreeMap<&str, (&Rank, usize)> = BTreeMap::new();
        for (index, (acquisition, rank)) in
            named.iter().enumerate().filter_map(|(index, name)| Some((index, name.as_ref()?)))
        {
            let held = best.entry(acquisition).or_insert((rank, index));
            if rank > held.0 {
                *held = (rank, index);
            }
        }
        let mut left_out = Vec::new();
        for (index, name) in named.iter().enumerate() {
            if let Some((acquisition, rank)) = name
                && let Some((top, other)) = best.get(acquisition.as_str())
                && rank != *top
            {
                left_out.push((index, *other));
            }
        }
        if let Some((index, other)) = left_out.first() {
            let (old, new) = (shown(granules[*index].name()), shown(granules[*other].name()));
            tracing::warn!(
                "{} of {} granules are earlier versions of acquisitions of which a better one exists, and are left out, such as \
                 {old} ({}), for which {new} counts",
                left_out.len(),
                granules.len(),
                granules[*index].date
            );
        }
        let kept = |(index, granule): (usize, Granule)| {
            left_out.binary_search_by_key(&index, |(index, _)| *index).is_err().then_some(granule)
        };
        Ok(granules.into_iter().enumerate().filter_map(kept).collect())
    }
}

/// The acquisition of a granule (groups `id` and `rest`) and its version.
fn named(granule: &Granule, regex: &Regex) -> Option<(String, Rank)> {
    let file = file_of(granule.name());
    nearest_first(&file).find_map(|text| {
        let groups = regex.captures(&text)?;
        let group = |name: &str| groups.name(name).map_or_else(String::new, |found| found.as_str().to_owned());
        Some((group("id") + &group("rest"), (group("first"), group("then"))))
    })
}
