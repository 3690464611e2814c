//! What two coordinate reference systems say differently, from their well-known texts.

/// Parts of a text that do not say where anything is.
const WORDS: [&str; 10] =
    ["ID", "AUTHORITY", "USAGE", "SCOPE", "AREA", "BBOX", "REMARK", "ENSEMBLEACCURACY", "MEMBER", "EXTENSION"];

/// Most differences that are listed.
const LISTED: usize = 3;

/// A part with what it says by itself, such as `PARAMETER "False easting" 500000`.
type Part = (String, Vec<String>);

/// The parts in which two texts differ, as `PARAMETER "False easting" 500000 against 0`; empty where they do not, or are
/// made of other parts altogether.
pub(super) fn difference(a: &str, b: &str) -> String {
    let (a, b) = (parts(a), parts(b));
    let lone = |(name, said): &Part| format!("{name} {}", said.join(" "));
    let mut found = Vec::new();
    let known = |list: &[Part], part: &Part| list.contains(part);
    for part in a.iter().filter(|part| !known(&b, part)) {
        // The same parameter with another value.
        let other = b.iter().find(|other| !known(&a, other) && other.0 == part.0 && other.1.first() == part.1.first());
        let other =
            other.or_else(|| b.iter().find(|other| !known(&a, other) && other.0 == part.0 && part.0 != "PARAMETER"));
        match other {
            Some((_, said)) if said.first() == part.1.first() => {
                found.push(format!("{} against {}", lone(part), said[1..].join(" ")));
            }
            Some((_, said)) => found.push(format!("{} against {}", lone(part), said.join(" "))),
            None => found.push(format!("{} against none", lone(part))),
        }
    }
    found.truncate(LISTED);
    found.join(", ")
}

/// The parts of a text, without their names where a name is but a name.
fn parts(text: &str) -> Vec<Part> {
    let mut open: Vec<(usize, Part)> = Vec::new();
    let mut done: Vec<(usize, Part)> = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, 0);
    let end = |open: &mut Vec<(usize, Part)>, word: &mut String| {
        let said = std::mem::take(word);
        if let (Some((_, part)), false) = (open.last_mut(), said.trim().is_empty()) {
            part.1.push(said.trim().to_owned());
        }
    };
    for character in text.chars() {
        match character {
            '"' => {
                quoted = !quoted;
                word.push(character);
            }
            '[' | '(' if !quoted => {
                open.push((begun, (std::mem::take(&mut word).trim().to_uppercase(), Vec::new())));
                begun += 1;
            }
            ']' | ')' if !quoted => {
                end(&mut open, &mut word);
                let Some(part) = open.pop() else { continue };
                let hidden = |name: &String| WORDS.contains(&name.as_str());
                if !hidden(&part.1.0) && !open.iter().any(|(_, (name, _))| hidden(name)) {
                    done.push(part);
                }
            }
            ',' if !quoted => end(&mut open, &mut word),
            other => word.push(other),
        }
    }
    done.sort_by_key(|(begun, _)| *begun);
    let named = |(_, (name, mut said)): (usize, Part)| {
        // The name of a whole system, a method or an axis decides nothing.
        if name.ends_with("CRS") || name.ends_with("CS") || name == "CONVERSION" || name == "AXIS" {
            said.clear();
        }
        (name, said)
    };
    done.into_iter().map(named).filter(|(_, said)| !said.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = "PROJCRS[\"WGS 84 / UTM zone 33N\",BASEGEOGCRS[\"WGS 84\",DATUM[\"World Geodetic System 1984\",\
        ELLIPSOID[\"WGS 84\",6378137,298.257223563,LENGTHUNIT[\"metre\",1]]],ID[\"EPSG\",4326]],CONVERSION[\"UTM zone 33N\",\
        METHOD[\"Transverse Mercator\",ID[\"EPSG\",9807]],PARAMETER[\"Longitude of natural origin\",15,ID[\"EPSG\",8802]],\
        PARAMETER[\"False easting\",500000]],USAGE[SCOPE[\"all, of it\"],AREA[\"a\"]],ID[\"EPSG\",32633]]";

    #[test]
    fn what_differs_is_named_and_names_are_not() {
        assert_eq!(difference(ZONE, ZONE), "");
        let renamed = ZONE.replace("WGS 84 / UTM zone 33N", "mine").replace("\"a\"", "\"b\"").replace("32633", "1");
        assert_eq!(difference(ZONE, &renamed), "");
        let next = ZONE.replace("origin\",15", "origin\",21");
        assert_eq!(difference(ZONE, &next), "PARAMETER \"Longitude of natural origin\" 15 against 21");
        let datum = ZONE.replace("World Geodetic System 1984", "North American Datum 1983");
        assert_eq!(
            difference(&datum, ZONE),
            "DATUM \"North American Datum 1983\" against \"World Geodetic System 1984\""
        );
        assert_eq!(difference("", ZONE), "");
        assert!(difference(ZONE, "").contains("against none"));
    }
}
