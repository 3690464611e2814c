//! Licences and duplicate versions of all dependencies against `deny.toml`, for machines without cargo-deny.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Output of a program, run where the manifest is.
fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Packages that are built here, of all features.
fn packages() -> Vec<Value> {
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = ["metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&output(env!("CARGO"), &metadata)).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    // The others are behind features that nobody asks for.
    let used: BTreeSet<String> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| node["id"].to_string()).collect();
    list(&metadata["packages"]).into_iter().filter(|package| used.contains(&package["id"].to_string())).collect()
}

/// The quoted words of a list in `deny.toml`, one entry a line.
fn listed(start: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let (_, list) = text.split_once(start).unwrap();
    let (list, _) = list.split_once("\n]").unwrap();
    let word = |line: &str| Some(line.split_once(key)?.1.split('"').nth(1)?.to_owned());
    list.lines().filter_map(word).collect()
}

/// Whether an SPDX expression can be met: `OR` binds less than `AND`, and `/` is an old way to write it.
fn met(expression: &str, allowed: &[String]) -> bool {
    if expression.contains('(') {
        // All parts in parentheses stand beside AND; each of them must be met.
        return expression.split(" AND ").all(|part| met(part.trim().trim_matches(['(', ')']), allowed));
    }
    let license = |name: &str| allowed.iter().any(|held| held == name.trim());
    expression.replace('/', " OR ").split(" OR ").any(|one| one.split(" AND ").all(license))
}

#[test]
fn licences_are_those_allowed() {
    let allowed = listed("\nallow = [", "");
    assert!(allowed.len() > 3 && allowed.contains(&"MIT".to_owned()), "{allowed:?}");
    for package in packages() {
        let license = package["license"].as_str().unwrap_or("none");
        assert!(met(license, &allowed), "{}: {license} is not in deny.toml", package["name"]);
    }
    assert!(met("MIT/Apache-2.0", &allowed) && met("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
    assert!(!met("GPL-3.0", &allowed) && !met("MIT AND GPL-3.0", &allowed) && !met("(MIT OR X) AND GPL-3.0", &allowed));
}

#[test]
fn crates_are_there_in_one_version_or_known() {
    let known = listed("\nskip = [", "crate =");
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().push(text("version"));
    }
    versions.retain(|name, versions| versions.len() > 1 && !known.contains(name));
    assert!(versions.is_empty(), "look at these, then add them to deny.toml: {versions:?}");
}
