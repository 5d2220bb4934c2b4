//! One name, one type: within a crate no two types share a name, wherever they are. The exceptions
//! are listed, and the list only becomes shorter.
//!
//! Types of tests are not looked at, nor are those inside a function, which nobody else can name.

use super::none;
use super::reading::{files, read, sources, words};
use std::collections::BTreeMap;

/// The names that several types of a crate share, each with how many: `crate name types`.
const LIST: &str = "tests/tests/house/homonyms.txt";

/// The type that a line declares, if it does so outside a function.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let (kind, rest) = line.strip_prefix("unsafe ").unwrap_or(line).split_once(' ')?;
    let is_type = ["struct", "enum", "union", "trait", "type"].contains(&kind);
    is_type.then(|| words(rest).next()).flatten()
}

/// The files that declare each type, by crate and name.
fn types() -> BTreeMap<(String, String), Vec<String>> {
    let manifests = files("Cargo.toml");
    let folders: Vec<&str> =
        manifests.iter().map(|path| path.trim_end_matches("Cargo.toml")).collect();
    let mut types: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    // Programs of `benches` are a crate each; tests may name what they like.
    let products = |path: &str| !path.starts_with("benches/") && !path.starts_with("tests/");
    for source in sources().iter().filter(|source| products(&source.path) && !source.is_test()) {
        let folder =
            folders.iter().filter(|folder| source.is_in(folder)).max_by_key(|folder| folder.len());
        let of = folder.map_or("", |folder| folder.trim_end_matches('/'));
        for name in source.without_tests().lines().filter_map(declared) {
            types.entry((of.to_owned(), name.to_owned())).or_default().push(source.path.clone());
        }
    }
    types
}

#[test]
fn no_two_types_of_a_crate_share_a_name() {
    let list = read(LIST);
    let mut listed: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in list.lines() {
        let mut words = line.split(' ');
        let (of, name, types) =
            (words.next(), words.next(), words.next().and_then(|types| types.parse().ok()));
        listed.insert((of.unwrap().to_owned(), name.unwrap().to_owned()), types.unwrap());
    }
    let types = types();
    assert!(types.len() > 500, "only {} types were found", types.len());
    let mut faults = Vec::new();
    for ((of, name), paths) in types {
        let (count, before) =
            (paths.len(), listed.remove(&(of.clone(), name.clone())).unwrap_or(1));
        if count > before {
            faults.push(format!("{of} {name} {count}: rename all but one of {}", paths.join(", ")));
        } else if count < before {
            faults
                .push(format!("{of} {name}: only {count} are left of {before}; say so in {LIST}"));
        }
    }
    faults
        .extend(listed.keys().map(|(of, name)| format!("{of} {name} is gone; take it off {LIST}")));
    none(faults);
}

#[test]
fn declarations_are_found_outside_functions() {
    assert_eq!(declared("pub(in crate::engine) struct Order<'a> {"), Some("Order"));
    assert_eq!(declared("pub type Answer = (u64, String);"), Some("Answer"));
    assert_eq!(declared("enum Kind {"), Some("Kind"));
    assert_eq!(declared("pub unsafe trait Code: Send {"), Some("Code"));
    assert_eq!(declared("    struct Visitor;"), None);
    assert_eq!(declared("pub fn of(kind: u8) -> Kind {"), None);
    assert_eq!(declared("impl Kind {"), None);
}
