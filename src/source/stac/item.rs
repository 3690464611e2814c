//! One STAC item: its date, its assets by name, and where they lie.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::geometry::Date;
use crate::source::gdal::is_address;

/// A STAC item.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The file that holds it.
    pub(super) file: PathBuf,
    pub(super) id: String,
    pub(super) collection: Option<String>,
    bbox: Option<Vec<f64>>,
    pub(super) properties: Map<String, Value>,
    pub(super) assets: BTreeMap<String, Asset>,
    /// The address that relative ones are relative to.
    own: Option<String>,
}

/// One of its files.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asset {
    pub(super) href: String,
    #[serde(rename = "type")]
    media: Option<String>,
    #[serde(rename = "eo:bands")]
    eo_bands: Option<Vec<Band>>,
    pub(super) bands: Option<Vec<Band>>,
    #[serde(rename = "raster:bands")]
    pub(super) raster_bands: Option<Vec<Band>>,
    /// Fields of a band that all bands of the asset share, and `proj:` fields.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// A band, by the extensions `eo` and `raster` or as of STAC 1.1.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Band {
    name: Option<String>,
    common_name: Option<String>,
    #[serde(rename = "eo:common_name")]
    eo_common_name: Option<String>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// What a JSON text is.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What a search gives.
#[derive(Deserialize)]
struct Collection {
    features: Vec<RawItem>,
    links: Option<Vec<Link>>,
}

#[derive(Deserialize)]
struct RawItem {
    id: String,
    collection: Option<String>,
    bbox: Option<Vec<f64>>,
    properties: Map<String, Value>,
    assets: BTreeMap<String, Asset>,
    links: Option<Vec<Link>>,
}

#[derive(Deserialize)]
struct Link {
    rel: String,
    href: String,
}

/// The items in a file's text: one or more JSON texts, one after another.
pub(super) fn items_in(text: &str, file: &Path) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut add = |raw: RawItem| {
        let links = raw.links.unwrap_or_default();
        let own = links.into_iter().find(|link| link.rel == "self").map(|link| link.href);
        let RawItem { id, collection, bbox, properties, assets, .. } = raw;
        let file = file.to_path_buf();
        items.push(Item { file, id, collection, bbox, properties, assets, own: own.filter(|own| is_address(own)) });
    };
    let mut texts = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    loop {
        let start = texts.byte_offset();
        let Some(next) = texts.next() else { break };
        next.map_err(|error| format!("it is no JSON: {error}"))?;
        let part = text[start..texts.byte_offset()].trim();
        let wrong = |error: serde_json::Error| format!("its STAC items cannot be read: {error}");
        if part.starts_with('[') {
            serde_json::from_str::<Vec<RawItem>>(part).map_err(wrong)?.into_iter().for_each(&mut add);
            continue;
        }
        let kind = if part.starts_with('{') { serde_json::from_str::<Kind>(part).map_err(wrong)?.kind } else { None };
        match kind.as_deref() {
            Some("FeatureCollection") => {
                let Collection { features, links } = serde_json::from_str(part).map_err(wrong)?;
                if links.iter().flatten().any(|link| link.rel == "next") {
                    let file = file.display();
                    tracing::warn!("{file} is one page of a search, and names a next one; save all pages");
                }
                features.into_iter().for_each(&mut add);
            }
            Some("Feature") => add(serde_json::from_str(part).map_err(wrong)?),
            // A catalogue, or the description of a collection.
            _ => {}
        }
    }
    Ok(items)
}

impl Item {
    /// Its day: `datetime`, or the middle of `start_datetime` and `end_datetime`.
    pub(super) fn date(&self) -> Result<Date, String> {
        let of = |key: &str| {
            let text = self.properties.get(key)?.as_str()?;
            let day = text.get(..10).and_then(|day| Date::parse(day, "%Y-%m-%d").ok());
            Some(day.ok_or_else(|| format!("{key} is {text:?}, which is no date")))
        };
        match (of("datetime"), of("start_datetime"), of("end_datetime")) {
            (Some(date), ..) => date,
            (None, Some(start), Some(end)) => {
                let (start, end) = (start?, end?);
                Ok(start + end.days_since(start).max(0) / 2)
            }
            (None, Some(start), None) => start,
            _ => Err("it has neither `datetime` nor `start_datetime` and `end_datetime`".into()),
        }
    }

    /// The asset that one of these names means, the first one first: its key, the name of its only band, or the common
    /// name of that.
    pub(super) fn asset(&self, names: &[String]) -> Result<&Asset, String> {
        for name in names {
            let keyed = self.assets.get(name).or_else(|| {
                let same = |key: &&String| key.eq_ignore_ascii_case(name);
                self.assets.keys().find(same).and_then(|key| self.assets.get(key))
            });
            if let Some(asset) = keyed {
                return Ok(asset);
            }
            let of_band = |asset: &&Asset| asset.only_band().is_some_and(|band| band.is_called(name));
            let found: Vec<&Asset> = self.assets.values().filter(of_band).collect();
            // The same band may be there as GeoTIFF and as JPEG 2000.
            let tiffs = || found.iter().filter(|asset| asset.is_tiff());
            match (found.as_slice(), tiffs().count()) {
                ([], _) => {}
                ([only], _) => return Ok(only),
                (_, 1) => return tiffs().next().copied().ok_or_else(String::new),
                (several, _) => {
                    let keys: Vec<&String> = self
                        .assets
                        .iter()
                        .filter(|(_, asset)| several.iter().any(|one| one.href == asset.href))
                        .map(|(key, _)| key)
                        .collect();
                    return Err(format!(
                        "{name:?} is the name of several assets of {:?}, {keys:?}; give the key of one",
                        self.id
                    ));
                }
            }
        }
        let keys: Vec<&String> = self.assets.keys().collect();
        let wanted = names.first().map_or("", String::as_str);
        Err(format!(
            "item {:?} in {} has no asset {wanted:?}, by key, band or common name; it has {keys:?}",
            self.id,
            self.file.display()
        ))
    }

    /// Where an asset lies: relative addresses are relative to the item.
    pub(super) fn path_of(&self, href: &str) -> PathBuf {
        let href = href.strip_prefix("file://").unwrap_or(href);
        if is_address(href) || Path::new(href).is_absolute() {
            return href.into();
        }
        let beside = self.file.parent().unwrap_or(Path::new("")).join(href);
        match &self.own {
            Some(own) if !beside.exists() => joined(own, href).into(),
            _ => beside,
        }
    }

    /// Whether its `bbox` meets [west, south, east, north].
    pub(super) fn meets(&self, [west, south, east, north]: [f64; 4]) -> bool {
        let Some(&[own_west, own_south, own_east, own_north] | &[own_west, own_south, _, own_east, own_north, _]) =
            self.bbox.as_deref()
        else {
            return true;
        };
        // Across the antimeridian the east is less than the west.
        let beyond = if own_east < own_west { 360.0 } else { 0.0 };
        let across = |turn: f64| own_west + turn <= east && west <= own_east + beyond + turn;
        own_south <= north && south <= own_north && [-360.0, 0.0, 360.0].into_iter().any(across)
    }

    /// The offset of reflectance that Sentinel-2 items say: taken out already, or by the processing baseline.
    pub(super) fn known_offset(&self) -> Option<f64> {
        let applied = ["earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"];
        if applied.iter().any(|key| self.properties.get(*key).and_then(Value::as_bool) == Some(true)) {
            return Some(0.0);
        }
        let baseline = self.properties.get("s2:processing_baseline")?;
        let number = baseline.as_f64().or_else(|| baseline.as_str()?.parse().ok())?;
        Some(if number >= 4.0 { -0.1 } else { 0.0 })
    }

    /// A field of an asset, or of the item where the asset does not have it.
    pub(super) fn field<'a>(&'a self, asset: &'a Asset, key: &str) -> Option<&'a Value> {
        asset.fields.get(key).or_else(|| self.properties.get(key)).filter(|value| !value.is_null())
    }
}

impl Asset {
    /// Its band, where it has one; an asset that says nothing of bands has none.
    fn only_band(&self) -> Option<&Band> {
        match self.eo_bands.as_deref().or(self.bands.as_deref())? {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Number of bands that it says to have; one where it says nothing.
    pub(super) fn band_count(&self) -> usize {
        let lists = [&self.eo_bands, &self.bands, &self.raster_bands];
        lists.into_iter().flatten().map(Vec::len).max().unwrap_or(1)
    }

    fn is_tiff(&self) -> bool {
        self.media.as_ref().is_some_and(|media| media.contains("tiff"))
    }

    /// A field of its first band by one of its names.
    pub(super) fn raster(&self, keys: &[&str]) -> Option<&Value> {
        let bands = [&self.raster_bands, &self.bands].into_iter().flatten().filter_map(|bands| bands.first());
        let mut fields = bands.map(|band| &band.fields).chain([&self.fields]);
        fields.find_map(|fields| keys.iter().find_map(|key| fields.get(*key).filter(|value| !value.is_null())))
    }

    /// Scale, offset and nodata of its first band.
    pub(super) fn calibration(&self) -> [Option<f64>; 3] {
        let number = |keys: &[&str]| self.raster(keys).and_then(Value::as_f64);
        [number(&["scale", "raster:scale"]), number(&["offset", "raster:offset"]), number(&["nodata"])]
    }
}

impl Band {
    fn is_called(&self, name: &str) -> bool {
        [&self.name, &self.common_name, &self.eo_common_name].into_iter().flatten().any(|own| own == name)
    }
}

/// An address relative to that of an item.
fn joined(own: &str, href: &str) -> String {
    let mut folder = own.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut rest = href;
    loop {
        if let Some(same) = rest.strip_prefix("./") {
            rest = same;
        } else if let Some(above) = rest.strip_prefix("../") {
            folder = folder.rsplit_once('/').map_or(folder, |(above, _)| above);
            rest = above;
        } else {
            return format!("{folder}/{rest}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
        items_in(text, Path::new("folder/items.json")).unwrap().remove(0)
    }

    #[test]
    fn dates_assets_and_places_are_those_of_the_item() {
        let text = r#"{"type": "Feature", "id": "a", "bbox": [179, -1, -179, 1],
            "properties": {"datetime": null, "start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2024-01-08T23:59:59Z"},
            "links": [{"rel": "self", "href": "https://h/c/items/a.json"}],
            "assets": {"x": {"href": "../x.tif", "eo:bands": [{"name": "B4", "common_name": "red"}]},
                       "y": {"href": "y.jp2", "bands": [{"name": "B5", "eo:common_name": "nir"}]},
                       "visual": {"href": "v.tif", "eo:bands": [{"common_name": "red"}, {"common_name": "green"}]}}}"#;
        let item = item(text);
        assert_eq!(item.date().unwrap().to_string(), "2024-01-04");
        let named = |name: &str| item.asset(&[name.to_owned()]).map(|asset| asset.href.clone());
        assert_eq!(named("red").unwrap(), "../x.tif");
        assert_eq!(named("nir").unwrap(), "y.jp2");
        assert_eq!(named("X").unwrap(), "../x.tif");
        assert!(named("swir16").unwrap_err().contains("visual"));
        assert_eq!(item.path_of("../x.tif"), Path::new("https://h/c/x.tif"));
        assert_eq!(item.path_of("s3://b/x.tif"), Path::new("s3://b/x.tif"));
        assert_eq!(item.path_of("file:///d/x.tif"), Path::new("/d/x.tif"));
        assert!(item.meets([179.5, 0.0, 179.9, 0.5]) && item.meets([-179.9, 0.0, -179.5, 0.5]));
        assert!(!item.meets([0.0, 0.0, 1.0, 1.0]));
    }

    #[test]
    fn collections_lines_and_lists_hold_items_and_other_json_none() {
        let one = r#"{"type": "Feature", "id": "a", "properties": {}, "assets": {}}"#;
        let other = r#"{"type": "Feature", "id": "b", "properties": {}, "assets": {}}"#;
        let count = |text: &str| items_in(text, Path::new("f.json")).map(|items| items.len());
        assert_eq!(count(&format!("{{\"type\": \"FeatureCollection\", \"features\": [{one}, {other}]}}")), Ok(2));
        assert_eq!(count(&format!("{one}\n{other}\n")), Ok(2));
        assert_eq!(count(&format!("[{one}]")), Ok(1));
        assert_eq!(count(r#"{"type": "Collection", "id": "c"}"#), Ok(0));
        assert!(count("{\"features\": [").unwrap_err().contains("line 1"));
        assert!(count(r#"{"type": "Feature", "id": "a", "assets": {}}"#).unwrap_err().contains("properties"));
    }
}
