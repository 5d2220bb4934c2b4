//! Inside `engine`, arrows only go down: the table in ARCHITECTURE.md, compared with every
//! `crate::` path. Likewise inside `state`, whose layers are folders: the table in its own
//! documentation.

use super::none;
use super::reading::{Source, read, sources, words};
use std::collections::{BTreeMap, BTreeSet};

/// The lines of the table, top first, each the modules on it.
fn table() -> Vec<Vec<String>> {
    let document = read("ARCHITECTURE.md");
    let block = document.split("```").find(|block| block.contains("pipeline | query")).unwrap();
    let names = |line: &str| {
        let names = line
            .split("  ")
            .next()
            .unwrap_or_default()
            .split('|')
            .map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    block.lines().map(names).filter(|names| !names.is_empty()).collect()
}

/// The crate inside `engine` that a file belongs to, if it is one of its own.
fn crate_of(path: &str) -> Option<&str> {
    let (name, inside) = path.strip_prefix("engine/")?.split_once('/')?;
    inside.starts_with("src/").then_some(name)
}

/// Crates below the engine that no line of the table has: what authors see.
const BELOW: [&str; 3] = ["plugin", "sketch", "testkit"];

/// Names under which the engine's library shows a module of a crate, each with the crate: `clock`
/// is of `system`.
fn shown() -> BTreeMap<String, String> {
    let library = sources().into_iter().find(|file| file.path == "engine/src/lib.rs").unwrap().code;
    let mut shown = BTreeMap::new();
    for statement in library.split("use tally_").skip(1).filter_map(|rest| rest.split(';').next()) {
        let (path, other) = statement
            .split_once(" as ")
            .map_or((statement, None), |(path, name)| (path, Some(name)));
        let mut names = words(path);
        let of = names.next().unwrap_or_default().to_owned();
        shown.extend(names.chain(other).map(|name| (name.to_owned(), of.clone())));
    }
    shown
}

#[test]
fn arrows_only_go_down() {
    let table = table();
    let mut rank = BTreeMap::new();
    for (height, line) in table.iter().rev().enumerate() {
        rank.extend(line.iter().map(|name| (name.clone(), height)));
    }
    let shown = shown();
    let (mut faults, mut seen, mut arrows) = (Vec::new(), BTreeSet::new(), 0);
    for file in sources().iter().filter(|file| file.is_in("engine/") && !file.is_test()) {
        // A crate of its own has its name on the table, too; it is below all that names it, as
        // Cargo sees to.
        if let Some(own) = crate_of(&file.path) {
            seen.insert(own.to_owned());
            let others = words(file.without_tests()).filter_map(|word| word.strip_prefix("tally_"));
            for used in others.filter(|used| !BELOW.contains(used)) {
                arrows += 1;
                if rank.get(used).zip(rank.get(own)).is_none_or(|(other, own)| other >= own) {
                    faults.push(format!("{} uses {used}, which is not below {own}", file.path));
                }
            }
            continue;
        }
        let inside = file.path.trim_start_matches("engine/src/");
        let own = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if own == "lib" {
            continue;
        }
        let Some(height) = rank.get(own) else {
            faults.push(format!("{} stands on no line of the table in ARCHITECTURE.md", file.path));
            continue;
        };
        seen.insert(own.to_owned());
        let code = file.without_tests();
        if code.contains("crate::{") || code.contains("use crate as") {
            faults.push(format!("{}: one `use crate::` line for each module", file.path));
        }
        // In these two places `super` is the crate itself.
        if (!inside.contains('/') || inside.ends_with(&format!("{own}/mod.rs")))
            && code.contains("super::")
        {
            faults.push(format!("{}: says super:: for crate::", file.path));
        }
        for (at, prefix) in code.match_indices("crate::").chain(code.match_indices("tally_")) {
            let used = words(&code[at + prefix.len()..]).next().unwrap_or_default();
            if prefix == "tally_" && BELOW.contains(&used) {
                continue;
            }
            arrows += 1;
            let used = shown.get(used).map_or(used, String::as_str);
            match rank.get(used) {
                _ if used == own => {}
                Some(other) if other < height => {}
                Some(_) => {
                    faults.push(format!("{} uses {used}, which is not below {own}", file.path))
                }
                None => faults.push(format!("{} uses {used}, which is on no line", file.path)),
            }
        }
    }
    for name in rank.keys().filter(|name| !seen.contains(*name)) {
        faults.push(format!("{name} stands in the table and not in engine"));
    }
    assert!(arrows > 50, "only {arrows} arrows were found");
    none(faults);
}

#[test]
fn the_crate_shows_the_same_table() {
    let library = read("engine/src/lib.rs");
    let block = library.split("```").nth(1).unwrap();
    let lines: Vec<&str> =
        block.lines().skip(1).map(|line| line.trim_start_matches("//!").trim()).collect();
    let of = |line: &&str| line.split("  ").next().unwrap_or_default().to_owned();
    let shown: Vec<String> = lines.iter().map(of).filter(|line| !line.is_empty()).collect();
    let expected: Vec<String> = table().iter().map(|line| line.join(" | ")).collect();
    assert_eq!(shown, expected);
}

/// Where `state` is, its root file, and how its own paths begin.
const STATE: (&str, &str, &str) = ("engine/state/src/", "lib.rs", "crate::");

/// The files of the layers of `state`, without tests: layer, module of the layer, and the file.
fn layered(sources: &[Source]) -> Vec<(&str, &str, &Source)> {
    let files = sources.iter().filter(|file| file.is_in(STATE.0) && !file.is_test());
    let split = files.filter_map(|file| {
        let (layer, inside) = file.path.strip_prefix(STATE.0)?.split_once('/')?;
        Some((layer, inside.split('/').next()?.trim_end_matches(".rs"), file))
    });
    split.collect()
}

/// `write` knows nothing of `read` or `maintain`, and so on down.
#[test]
fn layers_of_state_only_use_those_below() {
    let (folder, root, own_path) = STATE;
    let document = read(&format!("{folder}{root}"));
    let block = document.split("```").nth(1).unwrap();
    let lines: Vec<&str> =
        block.lines().skip(1).map(|line| line.trim_start_matches("//!").trim()).collect();
    let mut rank = BTreeMap::new();
    for (height, line) in lines.into_iter().filter(|line| !line.is_empty()).rev().enumerate() {
        rank.extend(line.split('|').map(|name| (name.trim(), height)));
    }
    let (mut faults, mut seen, mut arrows) = (Vec::new(), BTreeSet::new(), 0);
    let sources = sources();
    for (layer, module, file) in layered(&sources) {
        let Some(height) = rank.get(layer) else {
            faults.push(format!("{} is in no layer of the table in {folder}{root}", file.path));
            continue;
        };
        seen.insert(layer);
        let code = file.without_tests();
        // A path that leads out of the layer names it, so that it is found here.
        let leaves = code.contains("super::super") || module == "mod" && code.contains("super::");
        if leaves
            || code.contains(&format!("{own_path}{{"))
            || code.contains(&format!("{own_path}*"))
        {
            faults.push(format!("{}: name a layer by its own path, {own_path}…", file.path));
        }
        for (at, path) in code.match_indices(own_path) {
            let used = words(&code[at + path.len()..]).next().unwrap_or_default();
            arrows += 1;
            if used != layer && rank.get(used).is_none_or(|other| other >= height) {
                faults.push(format!("{} uses {used}, which is not below {layer}", file.path));
            }
        }
    }
    for layer in rank.keys().filter(|layer| !seen.contains(*layer)) {
        faults.push(format!("{layer} is in the table and not in {folder}"));
    }
    assert!(arrows > 50, "only {arrows} arrows were found");
    none(faults);
}

/// Whatever a module of `state` uses, that does not use the module in turn.
#[test]
fn modules_of_state_form_no_ring() {
    let (own_path, sources) = (STATE.2, sources());
    let files = layered(&sources);
    let modules: BTreeSet<(&str, &str)> =
        files.iter().map(|(layer, module, _)| (*layer, *module)).collect();
    let mut uses: BTreeMap<(&str, &str), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for (layer, module, file) in &files {
        let code = file.without_tests();
        let named = code.match_indices(own_path).filter_map(|(at, path)| {
            let mut words = words(&code[at + path.len()..]);
            Some((words.next()?, words.next()?))
        });
        // In a file of the layer itself `super` is the layer, deeper it is the module.
        let is_deep = !file.path.ends_with(&format!("{layer}/{module}.rs"));
        let beside = code.match_indices("super::").filter(|_| !is_deep);
        let beside =
            beside.filter_map(|(at, path)| Some((*layer, words(&code[at + path.len()..]).next()?)));
        let used =
            named.chain(beside).filter(|used| modules.contains(used) && *used != (*layer, *module));
        uses.entry((layer, module)).or_default().extend(used);
    }
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 50, "{uses:?}");
    // What uses only modules that are gone goes too; what is left goes round, or uses what does.
    while let Some(free) =
        uses.iter().find(|(_, used)| used.iter().all(|used| !uses.contains_key(used)))
    {
        let free = *free.0;
        uses.remove(&free);
    }
    none(
        uses.into_iter()
            .map(|(module, used)| {
                format!("{module:?} is in a ring, or above one: it uses {used:?}")
            })
            .collect(),
    );
}
