use serde_json::{Value, json};

use crate::engine::Report;

/// The parts of a report that a rerun reproduces; times are not among them.
pub(super) fn report_document(report: &Report) -> Value {
    let instruments = report.instruments.iter().map(|instrument| {
        let column = |of: &dyn Fn(&crate::engine::DateDiagnostics) -> Value| -> Vec<Value> {
            instrument.dates.iter().map(of).collect()
        };
        json!({
            "name": instrument.name,
            "dates": column(&|d| d.date.to_string().into()),
            "pixels": column(&|d| d.pixels.into()),
            "refused": column(&|d| d.refused.into()),
            "values": column(&|d| d.values.into()),
            "dof": column(&|d| d.dof.into()),
            "nis": column(&|d| d.nis.into()),
            "log_likelihood": column(&|d| d.log_likelihood.into()),
        })
    });
    let skipped = report.skipped.iter().map(|slice| {
        json!({
            "instrument": slice.instrument,
            "date": slice.date.to_string(),
            "tiles": slice.tiles,
            "reason": slice.reason,
        })
    });
    let failed = report.failed_windows.iter().map(|window| {
        json!({ "row": window.row, "col": window.col, "date": window.date.to_string(), "reason": window.reason })
    });
    let scores = report.scores.iter().flat_map(|scores| scores.components.iter().chain(&scores.bands));
    let scores = scores.map(|score| {
        json!({
            "name": score.name,
            "values": score.values,
            "rmse": score.rmse,
            "bias": score.bias,
            "mae": score.mae,
            "crps": score.crps,
            "coverage_50": score.coverage_half,
            "coverage_90": score.coverage,
            "width_90": score.width,
            "nis": score.nis,
            "sd_factor": score.sd_factor,
            "rms_sd": score.rms_sd,
        })
    });
    let mut document = json!({
        "windows": report.windows,
        "widened_windows": report.widened_windows,
        "instruments": instruments.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
        "failed_windows": failed.collect::<Vec<_>>(),
    });
    if report.scores.is_some() {
        document["truth"] = scores.collect();
    }
    document
}
