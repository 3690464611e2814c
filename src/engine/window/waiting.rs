//! Output dates that wait for the lag.

use std::collections::VecDeque;

use crate::geometry::Date;

/// The dates that a window outputs with each batch: results wait for as many dates of the output axis as the lag.
#[derive(Debug)]
pub(in crate::engine) struct Waiting {
    lag: usize,
    dates: VecDeque<(Date, usize)>,
}

impl Waiting {
    pub(in crate::engine) fn new(lag: usize) -> Self {
        Self { lag, dates: VecDeque::new() }
    }

    /// The dates that still wait, of those passed so far: the latest ones.
    pub(in crate::engine) fn after(lag: usize, passed: impl DoubleEndedIterator<Item = (Date, usize)>) -> Self {
        let mut dates: VecDeque<_> = passed.rev().take(lag).collect();
        dates.make_contiguous().reverse();
        Self { lag, dates }
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.dates.len()
    }

    /// Adds the dates of a batch (with their positions on the output axis) and returns those that are complete.
    pub(in crate::engine) fn pass(
        &mut self,
        dates: impl Iterator<Item = (Date, usize)>,
        last: bool,
    ) -> Vec<(Date, usize)> {
        let mut done = Vec::new();
        for date in dates {
            self.dates.push_back(date);
            if self.dates.len() > self.lag {
                done.extend(self.dates.pop_front());
            }
        }
        if last {
            done.extend(self.dates.drain(..));
        }
        done
    }
}
