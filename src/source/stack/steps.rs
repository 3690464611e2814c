//! Offsets that depend on a number in the file name.

use std::fmt;
use std::path::Path;

use regex::Regex;

use super::template::nearest_first;
use crate::error::{Error, Result};

/// An offset that depends on a number in the file's name, such as the processing baseline of Sentinel-2.
#[derive(Clone, Debug)]
pub(super) struct OffsetSteps {
    pattern: String,
    /// (first number, offset) of each step, ascending.
    steps: Vec<(u32, f64)>,
}

const KEY: &str = "offset_by";

impl OffsetSteps {
    pub(super) fn new(pattern: String, steps: Vec<(u32, f64)>) -> Self {
        Self { pattern, steps }
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
            let (path, pattern) = (path.display(), &self.pattern);
            Error::setting(KEY, format!("{path}: {problem} ('{pattern}'); give `offset`, or narrow `files`"))
        };
        let number: u32 = nearest_first(path)
            .find_map(|text| regex.captures(&text)?.get(1)?.as_str().parse().ok())
            .ok_or_else(|| refuse("its path does not hold a number that selects its offset, which its metadata may say (BOA_ADD_OFFSET over BOA_QUANTIFICATION_VALUE of \
             Sentinel-2)"))?;
        let step = self.steps.iter().rev().find(|(from, _)| *from <= number);
        step.map(|(_, offset)| *offset).ok_or_else(|| refuse(&format!("no offset is known for {number}")))
    }
}

impl fmt::Display for OffsetSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' {:?}", self.pattern, self.steps)
    }
}
