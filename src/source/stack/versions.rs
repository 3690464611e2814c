//! Versions of one acquisition: of those that a product was processed to, the best one counts.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use regex::Regex;

use super::granule::Granule;
use super::template::{file_of, nearest_first};
use crate::error::{Error, Result, shown};

/// How names say which acquisition files belong to, and in which version.
#[derive(Clone, Debug)]
pub(super) struct Versions(pub(super) String);

/// What orders versions: the groups `first`, `tier`, of which the smallest is the best and none the worst, and `then`; a
/// group that matches nothing is the lowest.
type Rank = (String, Option<Reverse<String>>, String);

/// Says what is wrong with a granule, if anything.
type Fault<'a> = &'a dyn Fn(&Granule) -> Option<String>;

impl Versions {
    /// Leaves the best version of each acquisition, and tells which others there are. Granules of one version are parts
    /// of it and stay together, and so does what the pattern does not match. With `fault`, which says what is wrong with a
    /// granule, if anything, a version of which a granule is at fault gives way to the next one that is sound.
    ///
    /// # Errors
    /// [`Error::Setting`] for a malformed pattern.
    pub(super) fn choose(&self, granules: Vec<Granule>, fault: Option<Fault<'_>>) -> Result<Vec<Granule>> {
        let regex = Regex::new(&self.0)
            .map_err(|error| Error::setting("versions", format!("not a regular expression: {error}")))?;
        // By acquisition, the positions of the granules of each version.
        let mut versions: BTreeMap<String, BTreeMap<Rank, Vec<usize>>> = BTreeMap::new();
        for (index, granule) in granules.iter().enumerate() {
            if let Some((acquisition, rank)) = named(granule, &regex) {
                versions.entry(acquisition).or_default().entry(rank).or_default().push(index);
            }
        }
        // Granules that are left out, each with one that counts in its place.
        let mut left_out: BTreeMap<usize, usize> = BTreeMap::new();
        for of_acquisition in versions.values().filter(|versions| versions.len() > 1) {
            let Some(best) = best_of(&granules, of_acquisition, fault) else { continue };
            let others = of_acquisition.values().filter(|members| members[0] != best).flatten();
            left_out.extend(others.map(|index| (*index, best)));
        }
        if let Some((index, other)) = left_out.first_key_value() {
            let (old, new) = (shown(granules[*index].name()), shown(granules[*other].name()));
            tracing::warn!(
                "{} of {} granules are other versions of acquisitions of which a better one exists, and are left out, such as \
                 {old} ({}), for which {new} counts",
                left_out.len(),
                granules.len(),
                granules[*index].date
            );
        }
        let kept = |(index, granule): (usize, Granule)| (!left_out.contains_key(&index)).then_some(granule);
        Ok(granules.into_iter().enumerate().filter_map(kept).collect())
    }
}

/// The first granule of the best version, or of the best one that is sound where `fault` looks at them and any is.
fn best_of(granules: &[Granule], versions: &BTreeMap<Rank, Vec<usize>>, fault: Option<Fault<'_>>) -> Option<usize> {
    let best = versions.values().next_back()?.first().copied();
    let Some(fault) = fault else { return best };
    let mut passed = Vec::new();
    for members in versions.values().rev() {
        match members.iter().find_map(|&index| Some((index, fault(&granules[index])?))) {
            Some(found) => passed.push(found),
            None => {
                let first = *members.first()?;
                for (index, problem) in passed {
                    let (old, new) = (shown(granules[index].name()), shown(granules[first].name()));
                    tracing::warn!(
                        "{old} ({}): {problem}; {new}, a lower version, counts instead",
                        granules[index].date
                    );
                }
                return Some(first);
            }
        }
    }
    best
}

/// The acquisition of a granule (groups `id` and `rest`) and its version.
fn named(granule: &Granule, regex: &Regex) -> Option<(String, Rank)> {
    let file = file_of(granule.name());
    nearest_first(&file).find_map(|text| {
        let groups = regex.captures(&text)?;
        let group = |name: &str| groups.name(name).map_or_else(String::new, |found| found.as_str().to_owned());
        let tier = groups.name("tier").map(|found| Reverse(found.as_str().to_owned()));
        Some((group("id") + &group("rest"), (group("first"), tier, group("then"))))
    })
}
