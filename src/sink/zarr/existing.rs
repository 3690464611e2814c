//! What a store says of its series: read, and checked against itself.

use std::io::BufReader;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::series::{ExistingSeries, SeriesIdentity, Settings};
use crate::storage::Folder;

/// The metadata documents of the group, v3 and v2. They are replaced last, because readers open the group by them.
const GROUPS: [&str; 2] = ["zarr.json", ".zmetadata"];

/// Key of the group attributes that describe the series.
const KEY: &str = "rasterfuse";

/// The attributes of the group in a folder: `None` where there is no document of a group. Of a report, which may be
/// long, only that there is one.
///
/// # Errors
/// What is wrong with the document.
pub(super) fn group_attributes(folder: &dyn Folder) -> Result<Option<Value>, String> {
    for name in GROUPS {
        let file = folder.open(name).map_err(|error| format!("{name} cannot be read: {error}"))?;
        let Some(file) = file else { continue };
        let document: Document =
            serde_json::from_reader(BufReader::new(file)).map_err(|error| format!("{name} is damaged: {error}"))?;
        let attributes = document.attributes.or(document.metadata.and_then(|metadata| metadata.attributes));
        return Ok(Some(attributes.map_or(Value::Null, Attributes::into_value)));
    }
    Ok(None)
}

/// The document of a group, v3 or v2.
#[derive(Deserialize)]
struct Document {
    attributes: Option<Attributes>,
    metadata: Option<MetadataV2>,
}

#[derive(Deserialize)]
struct MetadataV2 {
    #[serde(rename = ".zattrs")]
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Attributes {
    rasterfuse: Option<Run>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct Run {
    report: Option<IgnoredAny>,
    #[serde(flatten)]
    keys: Map<String, Value>,
}

impl Attributes {
    fn into_value(self) -> Value {
        let mut attributes = self.others;
        if let Some(Run { report, mut keys }) = self.rasterfuse {
            if report.is_some() {
                keys.insert("report".into(), true.into());
            }
            attributes.insert(KEY.into(), Value::Object(keys));
        }
        Value::Object(attributes)
    }
}

/// The series that the attributes of a group describe.
///
/// # Errors
/// What is wrong: they describe none, or contradict themselves.
pub(super) fn existing_series(attributes: &Value) -> Result<ExistingSeries, String> {
    let run = attributes.get(KEY).ok_or("it holds no series of rasterfuse")?;
    let damaged = |key: &str| format!("its metadata are damaged: {key} is {}", run.get(key).unwrap_or(&Value::Null));
    let count = |key: &str| run.get(key).and_then(Value::as_u64).map(|count| count as usize);
    let number = |key: &str| count(key).ok_or_else(|| damaged(key));
    let (planned, visible) = (number("dates_planned")?, number("dates_committed")?);
    let end = run.get("end").and_then(Value::as_str).and_then(|end| end.parse().ok()).ok_or_else(|| damaged("end"))?;
    let settled = visible.min(planned.saturating_sub(count("lag").unwrap_or(0)));
    let contradiction = |key: &str, of: &str| Err(format!("{}, which {of} contradicts", damaged(key)));
    if visible > planned {
        return contradiction("dates_committed", &format!("dates_planned {planned}"));
    }
    if count("dates_settled").is_some_and(|stored| stored != settled) {
        return contradiction("dates_settled", &format!("dates_committed {visible} of {planned} with its lag"));
    }
    let finished_dates = count("dates_finished").unwrap_or(0);
    if finished_dates > planned {
        return contradiction("dates_finished", &format!("dates_planned {planned}"));
    }
    Ok(ExistingSeries {
        settings: run.get("settings").and_then(|settings| Settings::deserialize(settings).ok()).unwrap_or_default(),
        dates_digest: count("dates_digest").unwrap_or(0) as u32,
        planned: (planned, end),
        visible,
        settled,
        finished: run.get("report").is_some(),
        finished_dates,
        identity: identity(run)?,
    })
}

/// `None` in stores that were made before there were identities.
fn identity(run: &Value) -> Result<Option<SeriesIdentity>, String> {
    let Some(id) = run.get("series_id") else { return Ok(None) };
    let id = id.as_str().filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let generation = run.get("series_generation").and_then(Value::as_u64).filter(|generation| *generation > 0);
    let replaying = run.get("series_replaying").is_some_and(|replaying| *replaying == Value::Bool(true));
    match (id, generation) {
        (Some(id), Some(generation)) => {
            let mut identity = SeriesIdentity::random();
            (identity.id, identity.generation, identity.replaying) = (id.to_owned(), generation, replaying);
            Ok(Some(identity))
        }
        _ => Err("its metadata are damaged: series_id or series_generation is none".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_that_contradict_themselves_are_refused_by_key() {
        let whole = json!({ "rasterfuse": {
            "dates_planned": 20, "dates_committed": 20, "dates_settled": 18, "lag": 2, "end": "2024-01-20",
            "series_id": "0123456789abcdef0123456789abcdef", "series_generation": 2
        }});
        let series = existing_series(&whole).unwrap();
        assert_eq!((series.visible, series.settled, series.finished_dates), (20, 18, 0));
        assert_eq!(series.identity.map(|identity| identity.generation), Some(2));
        for (key, value) in [
            ("dates_committed", json!(21)),
            ("dates_committed", json!(-1)),
            ("dates_committed", json!("20")),
            ("dates_planned", json!(10)),
            ("dates_planned", Value::Null),
            ("dates_settled", json!(20)),
            ("dates_finished", json!(21)),
            ("end", json!("2024-13-01")),
            ("series_id", json!("0123")),
            ("series_generation", json!(0)),
        ] {
            let mut edited = whole.clone();
            edited["rasterfuse"][key] = value;
            let problem = existing_series(&edited).unwrap_err();
            let named = problem.contains(key) || (key == "dates_planned" && problem.contains("dates_committed is 20"));
            assert!(named, "{key}: {problem}");
        }
    }
}
