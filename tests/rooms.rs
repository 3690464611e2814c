//! The files of `src` import each other in no circle, and its rooms only rooms on lower floors.
//!
//! What counts:
//! - A file imports another when it names an item that the other defines, by `use` or by a path in the code. Re-exports are
//!   looked through: who uses `engine::Plan` imports `engine/plan.rs`, wherever the name comes from.
//! - A file and the folder of its name are one module, whose parts may use each other both ways: `plan.rs` calls `plan/cost.rs`,
//!   which knows the types of `plan.rs`. So the members of a folder are its files, each with its own folder, and these members
//!   must form no circle; likewise the rooms, which are the members of `src`.
//! - Tests inside `src` may import what they like.
//! - Errors name a date or a CRS, though `geometry` returns errors: [`VALUES_IN_ERRORS`].

#[path = "rooms/house.rs"]
mod house;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;

use house::{Arrows, House, room};

/// Rooms from the ground up. A room imports rooms on lower floors only.
const FLOORS: [&[&str]; 12] = [
    // No raster; `filter` is pure: no files, no threads, no clock.
    &["filter", "machine"],
    &["error"],
    &["geometry", "npy", "storage"],
    &["source"],
    &["spectral", "seasonal"],
    &["describe"],
    &["model"],
    &["preset", "series"],
    &["engine", "sink"],
    &["estimate", "validate", "export"],
    &["config"],
    &["fuzz"],
];

/// Plain values that errors carry although they stand above them.
const VALUES_IN_ERRORS: [&str; 2] = ["Crs", "Date"];

fn arrows() -> io::Result<Arrows> {
    let house = House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))?;
    Ok(without_values_in_errors(house.arrows()))
}

fn without_values_in_errors(mut arrows: Arrows) -> Arrows {
    for ((from, _), names) in &mut arrows {
        if room(from) == "error" {
            names.retain(|name| !VALUES_IN_ERRORS.contains(&name.as_str()));
        }
    }
    arrows.retain(|_, names| !names.is_empty());
    arrows
}

/// Rooms that import a room on their own floor or above, or stand on none.
fn climbs(arrows: &Arrows, floors: &[&[&str]]) -> Vec<String> {
    let floor = |room: &str| floors.iter().position(|rooms| rooms.contains(&room));
    let mut climbs = Vec::new();
    for ((from, to), names) in arrows {
        let (a, b) = (room(from), room(to));
        match (floor(a), floor(b)) {
            _ if a == b => {}
            (Some(above), Some(below)) if above > below => {}
            (Some(_), Some(_)) => climbs.push(format!("{from} -> {to}: {names:?}")),
            (None, _) => climbs.push(format!("{a} stands on no floor: add it to FLOORS")),
            (_, None) => climbs.push(format!("{b} stands on no floor: add it to FLOORS")),
        }
    }
    climbs
}

/// A circle of each folder that has one, arrow by arrow.
fn circles(arrows: &Arrows) -> Vec<String> {
    // By folder: from member to member, with the arrows between their files.
    let mut folders: BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<String>>>> = BTreeMap::new();
    for ((from, to), names) in arrows {
        let (a, b) = (module(from), module(to));
        let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        if let (Some(member), Some(other)) = (a.get(shared), b.get(shared)) {
            let members = folders.entry(a[..shared].join("/")).or_default();
            let arrows = members.entry((*member).into()).or_default().entry((*other).into()).or_default();
            arrows.push(format!("  {from} -> {to}: {names:?}"));
        }
    }
    let report = |(folder, members): (String, BTreeMap<_, BTreeMap<_, Vec<String>>>)| {
        let circle = circle(&members)?;
        let arrows = circle.windows(2).flat_map(|pair| &members[&pair[0]][&pair[1]]);
        let arrows = arrows.map(String::as_str).collect::<Vec<_>>().join("\n");
        Some(format!("src/{folder}: {}\n{arrows}", circle.join(" -> ")))
    };
    folders.into_iter().filter_map(report).collect()
}

fn module(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path).split('/').collect()
}

/// The shortest circle, its first member again at the end.
fn circle<T>(members: &BTreeMap<String, BTreeMap<String, T>>) -> Option<Vec<String>> {
    let through = |start: &String| {
        let mut queue = VecDeque::from([vec![start.clone()]]);
        let mut seen = BTreeSet::new();
        while let Some(path) = queue.pop_front() {
            for next in members.get(path.last()?)?.keys().filter(|next| members.contains_key(*next)) {
                let path: Vec<String> = path.iter().chain([next]).cloned().collect();
                if next == start {
                    return Some(path);
                }
                if seen.insert(next.clone()) {
                    queue.push_back(path);
                }
            }
        }
        None
    };
    members.keys().filter_map(through).min_by_key(Vec::len)
}

#[test]
fn rooms_import_lower_floors_only() -> io::Result<()> {
    let climbs = climbs(&arrows()?, &FLOORS);
    assert!(climbs.is_empty(), "a room imports one that does not stand below it:\n{}", climbs.join("\n"));
    Ok(())
}

#[test]
fn files_import_each_other_in_no_circle() -> io::Result<()> {
    let circles = circles(&arrows()?);
    assert!(circles.is_empty(), "move what both need to a file below them:\n{}", circles.join("\n"));
    Ok(())
}

#[test]
fn arrows_of_the_library_are_seen() -> io::Result<()> {
    let arrows = arrows()?;
    let takes = |from: &str, to: &str, name: &str| {
        arrows.get(&(from.to_owned(), to.to_owned())).is_some_and(|names| names.contains(name))
    };
    assert!(takes("engine/fusion.rs", "engine/plan.rs", "Plan"), "an import of a neighbour");
    assert!(takes("engine/job.rs", "engine/fusion.rs", "Fusion"), "an import through the room's re-exports");
    assert!(takes("sink/memory.rs", "series/sink.rs", "FusionSink"), "an import of another room");
    assert!(arrows.len() > 500, "{} arrows", arrows.len());
    Ok(())
}

#[test]
fn a_circle_of_files_is_found_through_re_exports() {
    let found = |a: &str| {
        let files = [
            ("lib.rs", "mod room; pub use room::B;"),
            ("room/mod.rs", "mod a; mod b; pub use a::{A, Other as Renamed}; pub use b::B;"),
            ("room/a.rs", a),
            ("room/b.rs", "pub struct B(super::A);"),
        ];
        circles(&House::of(files).arrows())
    };
    for a in [
        "use crate::B; pub struct A;",
        "use super::{B, x::{y, z}}; pub struct A;",
        "pub struct A(crate::room::B);",
        "pub struct A; impl A { fn of() -> Self { super::b::B::default() } }",
        "use super::b as other; pub struct A(other::B);",
    ] {
        let expected = "src/room: a -> b -> a";
        assert!(found(a).iter().any(|circle| circle.starts_with(expected)), "{a}: {:?}", found(a));
    }
    assert!(found("use super::B; pub struct A;")[0].contains(r#"room/a.rs -> room/b.rs: {"B"}"#));
    for a in [
        "pub struct A;",
        "pub struct A; // use crate::B;",
        "/* use crate::B; */ pub struct A; const TEXT: &str = \"use crate::B;\"; const QUOTE: char = '\"';",
        "pub struct A; #[cfg(test)] mod tests { use crate::B; }",
        "pub struct A; #[cfg(test)] use crate::B; fn a<'a>() -> impl Iterator<Item = &'a u8> + use<'a> {}",
        "use other::room::B; pub struct A;",
    ] {
        assert!(found(a).is_empty(), "{a}: {:?}", found(a));
    }
}

#[test]
fn a_file_and_its_folder_are_one_module() {
    let files = |cells: &'static str| {
        House::of([
            ("engine/mod.rs", "mod cells; mod plan;"),
            ("engine/plan.rs", "mod cost; use cost::Costs; pub struct Plan;"),
            ("engine/plan/cost.rs", "use super::Plan; use crate::engine::cells::Cells; pub struct Costs;"),
            ("engine/cells.rs", cells),
            ("lib.rs", "mod engine;"),
        ])
    };
    assert!(circles(&files("pub struct Cells;").arrows()).is_empty());
    let circle = circles(&files("use super::plan::Plan; pub struct Cells;").arrows());
    assert!(circle.len() == 1 && circle[0].starts_with("src/engine: cells -> plan -> cells"), "{circle:?}");
}

#[test]
fn a_re_export_is_no_use() {
    let files = [
        ("lib.rs", "mod below; mod above;"),
        ("above.rs", "use crate::below::Below; pub struct Above;"),
        ("below.rs", "pub use crate::above::Above; pub struct Below;"),
    ];
    assert!(circles(&House::of(files).arrows()).is_empty());
    let files = [files[0], files[1], ("below.rs", "pub use crate::above::Above; pub struct Below(Above);")];
    assert_eq!(circles(&House::of(files).arrows()).len(), 1);
}

#[test]
fn rooms_that_climb_are_named() {
    let files = [
        ("lib.rs", "mod error; mod geometry; mod engine; mod sink; mod shed;"),
        ("geometry/mod.rs", "use crate::engine::Plan; use crate::error::Error; pub struct Date;"),
        ("engine/mod.rs", "use crate::{geometry, sink::Sink}; pub struct Plan;"),
        ("sink/mod.rs", "use crate::shed::Tool; pub struct Sink;"),
        ("error.rs", "use crate::geometry::Date; use crate::sink::Sink; pub struct Error;"),
        ("shed.rs", "pub struct Tool;"),
    ];
    let arrows = without_values_in_errors(House::of(files).arrows());
    let climbs = climbs(&arrows, &FLOORS);
    let expected = [
        r#"engine/mod.rs -> sink/mod.rs: {"Sink"}"#,
        r#"error.rs -> sink/mod.rs: {"Sink"}"#,
        r#"geometry/mod.rs -> engine/mod.rs: {"Plan"}"#,
        "shed stands on no floor: add it to FLOORS",
    ];
    assert_eq!(climbs, expected);
}
