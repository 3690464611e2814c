//! Offsets that depend on a number in the file name.

use std::fmt;
use std::path::Path;

use regex::Regex;

use super::metadata::offset_beside;
use super::template::nearest_first;
use crate::error::{Error, Result, shown};

/// An offset that depends on a number in the file's name, such as the processing baseline of Sentinel-2.
#[derive(Clone, Debug)]
pub(super) struct OffsetSteps {
    pattern: String,
    /// (first number, offset) of each step, ascending.
    steps: Vec<(u32, f64)>,
    /// The name of a file above the rasters that gives the offset of its product, and the last number that is known.
    known: Option<(String, u32)>,
}

const KEY: &str = "offset_by";

impl OffsetSteps {
    pub(super) fn new(pattern: String, steps: Vec<(u32, f64)>) -> Self {
        Self { pattern, steps, known: None }
    }

    /// The same for numbers up to `last`, and for what a file of this name gives.
    pub(super) fn known(self, metadata: String, last: u32) -> Self {
        Self { known: Some((metadata, last)), ..self }
    }

    /// The regular expression that finds the number.
    pub(super) fn compile(&self) -> Result<Regex> {
        let regex = Regex::new(&self.pattern)
            .map_err(|error| Error::setting(KEY, format!("not a regular expression: {error}")))?;
        if regex.captures_len() < 2 {
            let problem = format!("'{}' has no capture group; put the number in parentheses", self.pattern);
            return Err(Error::setting(KEY, problem));
        }
        let ascending = self.steps.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if self.steps.is_empty() || !ascending || self.steps.iter().any(|(_, offset)| !offset.is_finite()) {
            return Err(Error::setting(
                KEY,
                "`steps` must be [number, offset] pairs, numbers ascending, offsets finite",
            ));
        }
        Ok(regex)
    }

    /// The offset that the path of a file selects.
    pub(super) fn offset_of(&self, path: &Path, regex: &Regex) -> Result<f64> {
        let refuse = |problem: &str| {
            let (path, pattern) = (shown(path), &self.pattern);
            Error::setting(KEY, format!("{path}: {problem} ('{pattern}'); give `offset`, or narrow `files`"))
        };
        if let Some((metadata, _)) = &self.known {
            let said = offset_beside(path, metadata);
            let failed = |(path, problem)| Error::Open { path, date: None, problem, source: None };
            if let Some(offset) = said.map_err(failed)? {
                return Ok(offset);
            }
        }
        let number: u32 = nearest_first(path)
            .find_map(|text| regex.captures(&text)?.get(1)?.as_str().parse().ok())
            .ok_or_else(|| refuse("its path does not hold a number that selects its offset"))?;
        if let Some((metadata, last)) = &self.known
            && number > *last
        {
            return Err(refuse(&format!(
                "{number} is no number of the product, which are {last} at most, and there is no {metadata} that gives its offset"
            )));
        }
        let step = self.steps.iter().rev().find(|(from, _)| *from <= number);
        step.map(|(_, offset)| *offset).ok_or_else(|| refuse(&format!("no offset is known for {number}")))
    }
}

impl fmt::Display for OffsetSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' {:?}", self.pattern, self.steps)
    }
}
