//! One of several processes that share a run.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::geometry::Tiling;

/// One of several processes that share a run, each with its own tiles.
///
/// ```
/// use rasterfuse::engine::Shard;
/// let shard: Shard = "3/8".parse()?;
/// assert_eq!((shard.index(), shard.count()), (3, 8));
/// assert!("3".parse::<Shard>().is_err());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

const KEY: &str = "shard";

impl Shard {
    /// Shard `index` of `count`. All shards count from 0, or all from 1: index `count` is the same shard as index 0.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no such shard.
    pub fn new(index: usize, count: usize) -> Result<Self> {
        if count == 0 || index > count {
            let problem = format!("{index}/{count}; give i/n with n at least 1 and i from 0 to n - 1, or from 1 to n");
            return Err(Error::setting(KEY, problem));
        }
        Ok(Self { index, count })
    }

    /// The shard of an array job, from the environment, if any: `SLURM_ARRAY_TASK_ID` of `SLURM_ARRAY_TASK_COUNT`, or
    /// Kubernetes' `JOB_COMPLETION_INDEX`, whose count must be in `JOB_COMPLETIONS`.
    ///
    /// # Errors
    /// [`Error::Setting`] when the variables do not define a shard: they are not numbers, or the array is not a plain
    /// range.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<usize>> {
            let parse = |text: String| {
                text.trim().parse().map_err(|_| Error::setting(KEY, format!("{name} is {text:?}, not a number")))
            };
            variable(name).map(parse).transpose()
        };
        if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let count = number("SLURM_ARRAY_TASK_COUNT")?.unwrap_or(1).max(1);
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let last = number("SLURM_ARRAY_TASK_MAX")?;
            let plain = last.is_none_or(|last| last >= first && (last - first) / step + 1 == count);
            if !plain || id < first {
                let problem = "the Slurm array is no plain range such as 0-7; name the shard yourself (Shard::new)";
                return Err(Error::setting(KEY, problem));
            }
            let index = if last.is_some() { (id - first) / step } else { id % count };
            return Self::new(index, count).map(Some);
        }
        let Some(index) = number("JOB_COMPLETION_INDEX")? else { return Ok(None) };
        let Some(count) = number("JOB_COMPLETIONS")? else {
            let problem = "JOB_COMPLETION_INDEX is set, but not how many there are; set JOB_COMPLETIONS, or name the shard yourself (Shard::new)";
            return Err(Error::setting(KEY, problem));
        };
        Self::new(index, count).map(Some)
    }

    /// Its index, as given.
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// Number of shards.
    #[must_use]
    pub fn count(self) -> usize {
        self.count
    }

    /// Its tiles: neighbours, with about as many cells as those of every other shard.
    pub(super) fn tiles(self, tiling: &Tiling) -> Vec<usize> {
        let cells = |index: usize| tiling.tile(index).map_or(0, |tile| tile.region.len() as u64);
        let total: u64 = (0..tiling.tile_count()).map(cells).sum();
        let own = (self.index % self.count) as u64;
        let mut before = 0;
        let mut tiles = Vec::new();
        for index in 0..tiling.tile_count() {
            // A tile belongs to the shard whose share of the cells contains the middle of the tile.
            let middle = 2 * before + cells(index);
            if middle * self.count as u64 / (2 * total).max(1) == own {
                tiles.push(index);
            }
            before += cells(index);
        }
        tiles
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let Some((index, count)) = parts else {
            return Err(Error::setting(KEY, format!("{text:?}; give i/n, such as 3/8")));
        };
        Self::new(index, count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_the_tiles_out_evenly() {
        for (shape, tile) in [((100, 100), (32, 32)), ((7, 300), (7, 10)), ((10, 10), (16, 16)), ((64, 64), (1, 64))] {
            let tiling = Tiling::new(shape, tile, 4, 4);
            for count in [1, 2, 3, 4, 7, 50] {
                for first in [0, 1] {
                    let parts: Vec<Vec<usize>> =
                        (first..count + first).map(|index| Shard::new(index, count).unwrap().tiles(&tiling)).collect();
                    let mut all: Vec<usize> = parts.concat();
                    all.sort_unstable();
                    assert_eq!(all, (0..tiling.tile_count()).collect::<Vec<_>>());
                    let cells = |part: &Vec<usize>| -> usize {
                        part.iter().map(|&index| tiling.tile(index).unwrap().region.len()).sum()
                    };
                    let fair = shape.0 * shape.1 / count;
                    let most = parts.iter().map(cells).max().unwrap();
                    assert!(most <= fair + 2 * tile.0 * tile.1, "{shape:?} {count}: {most} of {fair}");
                }
            }
        }
    }

    #[test]
    fn array_jobs_name_their_shard() {
        let of = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
            Shard::from_variables(find).map(|shard| shard.map(|shard| shard.to_string()))
        };
        let slurm = |id, count, min, max, step| {
            of(&[
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
                ("SLURM_ARRAY_TASK_STEP", step),
            ])
        };
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(slurm("2", "4", "0", "3", "1").unwrap().as_deref(), Some("2/4"));
        assert_eq!(slurm("4", "4", "1", "4", "1").unwrap().as_deref(), Some("3/4"));
        assert_eq!(slurm("6", "4", "0", "6", "2").unwrap().as_deref(), Some("3/4"));
        assert_eq!(slurm("2", "1", "2", "2", "1").unwrap().as_deref(), Some("0/1"));
        assert!(slurm("3", "2", "1", "3", "1").unwrap_err().to_string().contains("plain range"));
        let two = [("SLURM_ARRAY_TASK_ID", "4"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        assert_eq!(of(&two).unwrap().as_deref(), Some("0/4"));
        let kubernetes = [("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETIONS", "3")];
        assert_eq!(of(&kubernetes).unwrap().as_deref(), Some("2/3"));
        assert!(of(&kubernetes[..1]).unwrap_err().to_string().contains("JOB_COMPLETIONS"));
        assert!(of(&[("SLURM_ARRAY_TASK_ID", "x")]).is_err());
        assert!(Shard::new(5, 4).is_err() && Shard::new(0, 0).is_err());
    }
}
