use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::Values;

/// The numbers of a description, by the keys of its [parameters](super::Parameter).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Numbers(BTreeMap<String, Vec<f64>>);

impl Numbers {
    /// All numbers of a key; empty when there is none of that name.
    #[must_use]
    pub fn list(&self, key: &str) -> &[f64] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// The first number of a key; NaN, which every setting refuses, when there is none of that name.
    #[must_use]
    pub fn number(&self, key: &str) -> f64 {
        self.list(key).first().copied().unwrap_or(f64::NAN)
    }

    /// What settings take: one number for all, or one for each.
    #[must_use]
    pub fn values(&self, key: &str) -> Values {
        match self.list(key) {
            [one] => Values::Same(*one),
            [] => Values::Same(f64::NAN),
            each => Values::Each(each.to_vec()),
        }
    }

    /// Every key with its numbers, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// Sets the numbers of a key.
    pub fn set(&mut self, key: impl Into<String>, numbers: impl Into<Vec<f64>>) {
        self.0.insert(key.into(), numbers.into());
    }

    /// Replaces one of the numbers of a key.
    pub(super) fn replace(&mut self, key: &str, index: usize, number: f64) {
        if let Some(place) = self.0.get_mut(key).and_then(|numbers| numbers.get_mut(index)) {
            *place = number;
        }
    }
}
