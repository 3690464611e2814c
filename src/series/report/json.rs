//! JSON of a report: the part that the store also holds, and the part of a single run.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{DateDiagnostics, InstrumentReport, Report, Timing};

/// By columns, like a table: `dates` and the numbers of each. `total` has their sums and `nis_ratio`.
impl Serialize for InstrumentReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut instrument = serializer.serialize_struct("InstrumentReport", 11)?;
        instrument.serialize_field("name", &self.name)?;
        instrument.serialize_field("dates", &self.column(|date| date.date))?;
        instrument.serialize_field("pixels", &self.column(|date| date.pixels))?;
        instrument.serialize_field("refused", &self.column(|date| date.refused))?;
        instrument.serialize_field("incomplete", &self.column(|date| date.incomplete))?;
        instrument.serialize_field("values", &self.column(|date| date.values))?;
        instrument.serialize_field("dof", &self.column(|date| date.dof))?;
        instrument.serialize_field("nis", &self.column(|date| date.nis))?;
        instrument.serialize_field("log_likelihood", &self.column(|date| date.log_likelihood))?;
        instrument.serialize_field("empty", &self.empty)?;
        instrument.serialize_field("total", &self.total().map(Total))?;
        instrument.end()
    }
}

impl InstrumentReport {
    fn column<T>(&self, of: impl Fn(&DateDiagnostics) -> T) -> Vec<T> {
        self.dates.iter().map(of).collect()
    }
}

/// Sums over dates.
struct Total(DateDiagnostics);

impl Serialize for Total {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let DateDiagnostics { date: _, pixels, refused, incomplete, values, dof, nis, log_likelihood } = &self.0;
        let mut total = serializer.serialize_struct("Total", 8)?;
        total.serialize_field("pixels", pixels)?;
        total.serialize_field("refused", refused)?;
        total.serialize_field("incomplete", incomplete)?;
        total.serialize_field("values", values)?;
        total.serialize_field("dof", dof)?;
        total.serialize_field("nis", nis)?;
        total.serialize_field("nis_ratio", &self.0.nis_ratio())?;
        total.serialize_field("log_likelihood", log_likelihood)?;
        total.end()
    }
}

/// The parts that the store holds come first, in its order.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 11)?;
        stored(self, &mut report)?;
        report.serialize_field("notes", &self.notes)?;
        report.serialize_field("blocks", &self.blocks)?;
        report.serialize_field("timing", &self.timing)?;
        report.end()
    }
}

/// The reproducible parts of a report, which a store holds. Blocks, times and notes belong to a single run.
#[cfg(feature = "zarr")]
#[derive(Debug)]
pub(crate) struct StoredReport<'a>(pub(crate) &'a Report);

#[cfg(feature = "zarr")]
impl Serialize for StoredReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 8)?;
        stored(self.0, &mut report)?;
        report.end()
    }
}

fn stored<S: SerializeStruct>(report: &Report, fields: &mut S) -> Result<(), S::Error> {
    // Destructured, so that a new field cannot be forgotten.
    let Report {
        instruments,
        windows,
        widened_windows,
        skipped,
        failed_windows,
        unused,
        notes: _,
        scores,
        blocks: _,
        timing: _,
    } = report;
    fields.serialize_field("windows", windows)?;
    fields.serialize_field("widened_windows", widened_windows)?;
    fields.serialize_field("instruments", instruments)?;
    fields.serialize_field("skipped", skipped)?;
    fields.serialize_field("failed_windows", failed_windows)?;
    fields.serialize_field("unused", unused)?;
    match scores {
        Some(scores) => fields.serialize_field("truth", scores)?,
        None => fields.skip_field("truth")?,
    }
    fields.serialize_field("log_likelihood", &report.log_likelihood())
}

/// In seconds.
impl Serialize for Timing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { setup, read, filter, write, checkpoint, wait_read, wait_write } = self;
        let mut timing = serializer.serialize_struct("Timing", 7)?;
        timing.serialize_field("setup_seconds", &setup.as_secs_f64())?;
        timing.serialize_field("read_seconds", &read.as_secs_f64())?;
        timing.serialize_field("filter_seconds", &filter.as_secs_f64())?;
        timing.serialize_field("write_seconds", &write.as_secs_f64())?;
        timing.serialize_field("checkpoint_seconds", &checkpoint.as_secs_f64())?;
        timing.serialize_field("wait_read_seconds", &wait_read.as_secs_f64())?;
        timing.serialize_field("wait_write_seconds", &wait_write.as_secs_f64())?;
        timing.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::geometry::Date;
    use crate::series::SkippedSlice;

    #[test]
    fn a_report_has_the_names_that_are_documented() {
        let on = |day: i32, nis: f64| DateDiagnostics {
            date: Date::from_days(day),
            pixels: 4,
            refused: 1,
            incomplete: 0,
            values: 3,
            dof: 2,
            nis,
            log_likelihood: -1.5,
        };
        let slice = SkippedSlice {
            instrument: "fine".into(),
            date: Date::from_days(1),
            tiles: 2,
            reason: "cannot be read".into(),
        };
        let report = Report {
            instruments: vec![
                InstrumentReport {
                    name: "fine".into(),
                    dates: vec![on(0, 1.0), on(2, 4.0)],
                    empty: vec![Date::from_days(3)],
                },
                InstrumentReport { name: "blind".into(), ..InstrumentReport::default() },
            ],
            windows: 7,
            skipped: vec![slice],
            blocks: 5,
            timing: Timing { filter: Duration::from_millis(1500), ..Timing::default() },
            ..Report::default()
        };
        let total = json!({
            "pixels": 8, "refused": 2, "incomplete": 0, "values": 6, "dof": 4, "nis": 5.0, "nis_ratio": 1.25, "log_likelihood": -3.0
        });
        let expected = json!({
            "windows": 7,
            "widened_windows": 0,
            "instruments": [
                {
                    "name": "fine", "dates": ["1970-01-01", "1970-01-03"], "pixels": [4, 4], "refused": [1, 1], "incomplete": [0, 0],
                    "values": [3, 3], "dof": [2, 2], "nis": [1.0, 4.0], "log_likelihood": [-1.5, -1.5],
                    "empty": ["1970-01-04"], "total": total
                },
                {
                    "name": "blind", "dates": [], "pixels": [], "refused": [], "incomplete": [], "values": [], "dof": [], "nis": [],
                    "log_likelihood": [], "empty": [], "total": null
                }
            ],
            "skipped": [{ "instrument": "fine", "date": "1970-01-02", "tiles": 2, "reason": "cannot be read" }],
            "failed_windows": [],
            "unused": [],
            "notes": [],
            "log_likelihood": -3.0,
            "blocks": 5,
            "timing": {
                "setup_seconds": 0.0, "read_seconds": 0.0, "filter_seconds": 1.5, "write_seconds": 0.0,
                "checkpoint_seconds": 0.0, "wait_read_seconds": 0.0, "wait_write_seconds": 0.0
            }
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }
}
