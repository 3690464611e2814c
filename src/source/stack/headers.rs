//! The headers of a stack's granules, in order; those on servers are asked for several at a time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::vec::IntoIter;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::StackBuilder;
use super::granule::Granule;
use crate::error::{Error, Result};
use crate::source::gdal::{RasterHeader, dated_header, is_remote};

/// Granules whose headers are asked for together, for each read in flight.
const AHEAD: usize = 4;

/// A granule with the headers of all its files.
type WithHeaders = (Granule, Result<Vec<RasterHeader>>);

/// Granules with their headers, read as they are asked for.
pub(super) struct HeaderReader<'a> {
    stack: &'a StackBuilder,
    granules: IntoIter<Granule>,
    /// Threads that wait for servers, and what they have brought; `None` where all files are of this machine.
    servers: Option<(ThreadPool, VecDeque<WithHeaders>)>,
}

impl StackBuilder {
    /// The granules with their headers, in their order.
    ///
    /// # Errors
    /// [`Error::Threads`] where threads that wait for servers cannot be started.
    pub(super) fn with_headers(&self, granules: Vec<Granule>) -> Result<HeaderReader<'_>> {
        let asked = |granule: &Granule| {
            let promised = |index: usize| granule.promised.get(index).is_some_and(Option::is_some);
            granule.all_files().enumerate().any(|(index, path)| !promised(index) && is_remote(path))
        };
        let remote = granules.iter().any(asked);
        let threads = self.drivers.remote().headers_in_flight();
        let pool = || {
            let builder =
                ThreadPoolBuilder::new().num_threads(threads).thread_name(|k| format!("rasterfuse-header-{k}"));
            builder.build().map_err(|error| Error::Threads { threads, source: Box::new(error) })
        };
        let servers = remote.then(pool).transpose()?.map(|pool| (pool, VecDeque::new()));
        Ok(HeaderReader { stack: self, granules: granules.into_iter(), servers })
    }

    /// What is wrong with the files of a granule by themselves, if anything.
    pub(super) fn fault_of(&self, granule: &Granule) -> Option<String> {
        self.headers_of(granule).err().map(|error| error.to_string())
    }

    /// The headers of a granule's files, with the CRS that was given.
    fn headers_of(&self, granule: &Granule) -> Result<Vec<RasterHeader>> {
        if let Some((path, problem)) = &granule.fault {
            let problem = problem.clone();
            return Err(Error::Inconsistent { path: path.clone(), date: granule.date, problem });
        }
        let header = |(index, path): (usize, &PathBuf)| {
            let mut header = match granule.promised.get(index) {
                Some(Some(promised)) => RasterHeader::clone(promised),
                _ => dated_header(path, Some(granule.date), &self.drivers)?,
            };
            if let Some(crs) = &self.crs {
                header.grid = header.grid.with_crs(crs.clone());
            }
            Ok(header)
        };
        granule.all_files().enumerate().map(header).collect()
    }
}

impl Iterator for HeaderReader<'_> {
    type Item = WithHeaders;

    fn next(&mut self) -> Option<WithHeaders> {
        let read = |granule: Granule| {
            let headers = self.stack.headers_of(&granule);
            (granule, headers)
        };
        let Some((pool, ready)) = &mut self.servers else { return self.granules.next().map(read) };
        if ready.is_empty() {
            let some: Vec<Granule> = self.granules.by_ref().take(AHEAD * pool.current_num_threads()).collect();
            ready.extend(pool.install(|| some.into_par_iter().map(read).collect::<Vec<_>>()));
        }
        ready.pop_front()
    }
}
