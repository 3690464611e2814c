//! Composites: which earlier averages of a footprint a value is made of, and with which weights.

use crate::describe::{Composite, Key};
use crate::error::{Error, Result};
use crate::geometry::Date;

/// Longest window of a composite, in days.
const MOST_DAYS: usize = 366;

/// Earlier averages of a pixel, at most, where nothing is said of them.
const USUAL_EARLIER: usize = 4;

/// A composite, checked.
///
/// Earlier averages of the field over a footprint, as it was on days that are multiples of `every`, are states like
/// others, which nothing changes but what is observed. Between these days the average is interpolated linearly. With
/// `every = 1` nothing is; otherwise what is left out is the mean of Brownian bridges, whose variance is `every / 12` days
/// of change, divided by the number of bridges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CompositeModel {
    /// Days of the window.
    days: i32,
    /// Days from the date of a file to the last day of its window.
    delay: i32,
    every: i32,
    earlier: usize,
    /// For each number of days since the latest earlier average, from 1 on: the weights of the present and of the earlier
    /// averages, the latest first.
    weights: Vec<Vec<f64>>,
}

/// What a composite observes on a day.
#[derive(Clone, Debug)]
pub(crate) struct Averaged {
    /// Weight of the present.
    pub(crate) present: f64,
    /// Weight of each earlier average, by its place.
    pub(crate) weights: Vec<f64>,
}

impl Default for Averaged {
    fn default() -> Self {
        Self { present: 1.0, weights: Vec::new() }
    }
}

impl Averaged {
    /// What is not averaged observes the present.
    pub(crate) fn set_present(&mut self) {
        self.present = 1.0;
        self.weights.clear();
    }
}

impl CompositeModel {
    /// Checks a composite; nothing where its window is one day.
    ///
    /// # Errors
    /// [`Error::Number`] and [`Error::Setting`] by key; `at` is that of the table.
    pub(crate) fn new(composite: &Composite, at: &Key) -> Result<Option<Self>> {
        let Composite { days, centre, ref weights, every } = *composite;
        if days == 0 || days > MOST_DAYS {
            return Err(Error::setting(at.name("days"), format!("{days} days; give 1 to {MOST_DAYS}")));
        }
        if !(0.0..=1.0).contains(&centre) {
            let problem = "must be from 0, the date of a file is its window's first day, to 1, the last";
            return Err(Error::number(at.name("centre"), centre, problem));
        }
        if every == Some(0) {
            return Err(Error::setting(at.name("every"), "0 days; give at least 1"));
        }
        let weights = weights.clone().unwrap_or_else(|| vec![1.0; days]);
        if weights.len() != days {
            let problem = format!("{} weights for {days} days; give one for each day", weights.len());
            return Err(Error::setting(at.name("weights"), problem));
        }
        if let Some(weight) = weights.iter().find(|weight| !(**weight >= 0.0 && weight.is_finite())) {
            return Err(Error::number(at.name("weights"), *weight, "must be zero or positive"));
        }
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return Err(Error::setting(at.name("weights"), "all are zero; give at least one day a weight"));
        }
        let before = (centre * (days - 1) as f64).round() as usize;
        let delay = (days - 1 - before) as i32;
        if days == 1 {
            return Ok(None);
        }
        // By age: the last day first.
        let weights: Vec<f64> = weights.iter().rev().map(|weight| weight / total).collect();
        let spans = days - 2;
        let every = every.unwrap_or_else(|| spans.div_ceil(USUAL_EARLIER - 1).max(1));
        let earlier = spans.div_ceil(every) + 1;
        let weights = (1..=every).map(|since| node_weights(&weights, since, every, earlier)).collect();
        Ok(Some(Self { days: days as i32, delay, every: every as i32, earlier, weights }))
    }

    /// Earlier averages of a pixel.
    pub(crate) fn earlier(&self) -> usize {
        self.earlier
    }

    /// Days of the window.
    pub(crate) fn days(&self) -> i32 {
        self.days
    }

    /// Days from the date of a file to the last day of its window, on which it counts.
    pub(crate) fn delay(&self) -> i32 {
        self.delay
    }

    /// The first day from `from` on, before `until`, of which the average is kept, and still is at `until`: later ones take
    /// the places of what is older.
    pub(crate) fn next_kept(&self, from: Date, until: Date) -> Option<Date> {
        let span = (self.earlier as i32).saturating_mul(self.every);
        let from = from.max(Date::from_days(until.days_since_epoch().saturating_sub(span)));
        let ahead = (-from.days_since_epoch()).rem_euclid(self.every);
        Some(from + ahead).filter(|day| *day < until)
    }

    /// Whether the average of a day is kept.
    pub(crate) fn keeps(&self, day: Date) -> bool {
        day.days_since_epoch().rem_euclid(self.every) == 0
    }

    /// The place of the earlier average of a day.
    pub(crate) fn place(&self, day: Date) -> usize {
        day.days_since_epoch().div_euclid(self.every).rem_euclid(self.earlier as i32) as usize
    }

    /// What a composite whose window ends on a day observes.
    pub(crate) fn on(&self, day: Date, averaged: &mut Averaged) {
        averaged.present = 0.0;
        averaged.weights.clear();
        averaged.weights.resize(self.earlier, 0.0);
        for (node, weight) in self.nodes(day) {
            if node == day {
                averaged.present = weight;
            } else {
                averaged.weights[self.place(node)] = weight;
            }
        }
    }

    /// The days whose averages a composite whose window ends on a day consists of, the last day first, with their weights.
    pub(crate) fn nodes(&self, day: Date) -> impl Iterator<Item = (Date, f64)> + '_ {
        let since = (day.days_since_epoch() - 1).rem_euclid(self.every) + 1;
        let age = move |node: i32| if node == 0 { 0 } else { since + (node - 1) * self.every };
        (0..).zip(&self.weights[since as usize - 1]).map(move |(node, weight)| (day + -age(node), *weight))
    }
}

/// Weights of the present and of averages `since`, `since + every`, … days ago, between which values are interpolated,
/// from those of ages 0, 1, …
fn node_weights(weights: &[f64], since: usize, every: usize, earlier: usize) -> Vec<f64> {
    let age = |node: usize| if node == 0 { 0 } else { since + (node - 1) * every };
    let mut nodes = vec![0.0; earlier + 1];
    for (day, weight) in weights.iter().enumerate() {
        let after = (0..=earlier).find(|&node| age(node) >= day).unwrap_or(earlier);
        let Some(before) = after.checked_sub(1) else {
            nodes[0] += weight;
            continue;
        };
        let share = (day - age(before)) as f64 / (age(after) - age(before)) as f64;
        nodes[before] += weight * (1.0 - share);
        nodes[after] += weight * share;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(composite: &Composite) -> CompositeModel {
        CompositeModel::new(composite, &"composite".into()).unwrap().unwrap()
    }

    #[test]
    fn few_days_stand_for_those_of_the_window() {
        for (days, every) in [(2, 1), (4, 1), (8, 2), (16, 5), (16, 7), (16, 1), (10, 20)] {
            let model = model(&Composite::new(days).centre(1.0).every(every));
            for end in -20..40 {
                let end = Date::from_days(end);
                let mut averaged = Averaged::default();
                model.on(end, &mut averaged);
                // What a straight line and its places say: nothing is lost, whatever the phase.
                let mut kept = vec![None; model.earlier()];
                let (mut from, mut steps) = (end + -400, 0);
                while let Some(day) = model.next_kept(from, end) {
                    kept[model.place(day)] = Some(day);
                    from = day + 1;
                    steps += 1;
                }
                assert!(steps <= model.earlier(), "of a long gap only what remains");
                let value = |day: Date| f64::from(day.days_since_epoch());
                let mut mean = averaged.present * value(end);
                for (day, weight) in kept.iter().zip(&averaged.weights) {
                    mean += weight * value(day.unwrap());
                }
                let expected = value(end) - (days - 1) as f64 / 2.0;
                assert!((mean - expected).abs() < 1e-12, "{days} {every} {end}: {mean} {expected}");
                let total = averaged.present + averaged.weights.iter().sum::<f64>();
                assert!((total - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn usual_composites_keep_few() {
        let of = |days: usize| model(&Composite::new(days));
        assert_eq!([2, 4, 8, 10, 16].map(|days| of(days).earlier()), [1, 3, 4, 4, 4]);
        // MCD43A4 is dated by the ninth day of sixteen.
        assert_eq!(of(16).delay(), 7);
        assert_eq!(model(&Composite::new(8).centre(0.0)).delay(), 7);
        assert_eq!(model(&Composite::new(8).centre(1.0)).delay(), 0);
        assert_eq!(CompositeModel::new(&Composite::new(1), &"composite".into()).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let check = |composite: Composite, key: &str| {
            let message = CompositeModel::new(&composite, &"composite".into()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("composite.{key}")), "{message}");
        };
        check(Composite::new(0), "days");
        check(Composite::new(4000), "days");
        check(Composite::new(8).centre(1.5), "centre");
        check(Composite::new(8).every(0), "every");
        check(Composite::new(2).weights([1.0]), "weights");
        check(Composite::new(2).weights([1.0, -1.0]), "weights");
        check(Composite::new(2).weights([0.0, 0.0]), "weights");
    }
}
