//! Inside `engine/pipeline`, the parts of a lane know only what is below them: the lane all, the
//! others not each other.

use super::none;
use super::reading::{Source, sources, words};

/// The parts, each with those that it must not know.
const PARTS: [(&str, &[&str]); 6] = [
    ("steering", &["lane", "command", "batch", "executor"]),
    ("batch", &["lane", "command", "steering", "executor"]),
    ("executor/", &["lane", "command", "steering", "batch"]),
    ("ledger", &["lane", "command", "steering", "batch", "executor"]),
    ("pending", &["lane", "command", "steering", "batch", "executor", "ledger", "view"]),
    ("members", &["lane", "command", "steering", "batch", "executor", "ledger", "pending", "view"]),
];

/// Words of the code behind `super::` and `pipeline::`.
fn names(file: &Source) -> Vec<String> {
    let code = file.without_tests();
    let after = |prefix: &'static str| {
        let found = code.match_indices(prefix).map(move |(at, _)| &code[at + prefix.len()..]);
        found.filter_map(|rest| words(rest).next().map(str::to_owned))
    };
    after("super::").chain(after("pipeline::")).collect()
}

#[test]
fn parts_of_a_lane_do_not_know_each_other() {
    let mut faults = Vec::new();
    for (part, unknown) in PARTS {
        let of_part = |file: &&Source| {
            let inside = file.path.strip_prefix("engine/src/pipeline/").unwrap_or_default();
            !file.is_test()
                && (inside.starts_with(part) && part.ends_with('/')
                    || inside == format!("{part}.rs"))
        };
        let files: Vec<Source> = sources().into_iter().filter(|file| of_part(&file)).collect();
        assert!(!files.is_empty(), "there is no pipeline/{part}");
        for file in files {
            let known = names(&file).into_iter().filter(|name| unknown.contains(&name.as_str()));
            faults.extend(known.map(|name| format!("{} knows {name}", file.path)));
        }
    }
    // The machine decides in the ledger alone.
    let engine = sources().into_iter().filter(|file| file.is_in("engine/src/") && !file.is_test());
    let machine = engine.filter(|file| words(file.without_tests()).any(|word| word == "Machine"));
    let elsewhere = machine.filter(|file| {
        !["ledger.rs", "stop_reasons.rs"].iter().any(|name| file.path.ends_with(name))
    });
    faults.extend(elsewhere.map(|file| format!("{} names the machine", file.path)));
    none(faults);
}
