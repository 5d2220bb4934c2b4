//! Plugin files of every interface generation keep loading: those that were kept when a generation
//! became final (`tests/fixtures/generation-N`, made by `keep-generation`), and those that are
//! built now.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tally_tests::day;
use tally_tests::tally::{Home, binary};

/// `counts` serves nothing without a configuration.
const CONFIG: &str = "[plugins]\ndir = \"plugins\"\n[server]\nevaluation_deadline_ms = 10000\n\
    [metrics.counts]\nconfig.cells = { events = \"count\" }\n";

/// The plugin files in a folder; none where there is no folder.
fn plugins(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "so")).collect();
    files.sort();
    files
}

/// Folders with plugin files of this machine's kind, each of one generation.
fn generations() -> Vec<(String, Vec<PathBuf>)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let machine = format!("{}-", std::env::consts::ARCH);
    let mut found = Vec::new();
    for entry in fs::read_dir(fixtures).unwrap() {
        let generation = entry.unwrap().path();
        if !generation.is_dir() {
            continue;
        }
        for target in fs::read_dir(&generation).unwrap().map(|entry| entry.unwrap().path()) {
            if target.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&machine)) {
                found.push((target.display().to_string(), plugins(&target)));
            }
        }
    }
    let crates = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")).unwrap();
    let names = crates.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let built =
        names.map(|name| binary().unwrap().with_file_name(format!("lib{name}.so"))).collect();
    found.push(("built now".into(), built));
    found
}

#[test]
fn what_was_built_for_this_generation_still_loads() {
    for (place, files) in generations() {
        assert!(files.len() >= 3, "{place}: {files:?}");
        let home = Home::new(CONFIG).unwrap();
        let folder = home.path().join("plugins");
        fs::create_dir(&folder).unwrap();
        for file in &files {
            fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        let tally = home.start().unwrap();
        // One that is refused is listed, though one of the same name beside the binary may serve in
        // its place; that one is listed too, where it comes second.
        let listing = tally.client.get("/api/metrics").unwrap().json();
        let own =
            |refused: &&Value| refused["file"].as_str().unwrap_or_default().starts_with("plugins/");
        let refused: Vec<&Value> =
            listing["rejected"].as_array().unwrap().iter().filter(own).collect();
        assert!(refused.is_empty(), "{place}: {refused:?}");
        let position = tally.client.post_all(&day::lines(&day::events())).unwrap();
        let names =
            files.iter().map(|file| file.file_stem().unwrap().to_string_lossy().replace("lib", ""));
        for name in names {
            let metrics = listing["metrics"].as_array().unwrap();
            let metric = metrics.iter().find(|metric| metric["name"] == *name);
            let Some(metric) = metric else { panic!("{place}: {name} is not served") };
            for example in metric["examples"].as_array().unwrap() {
                let answered: Value =
                    tally.client.ask(&name, &example["params"], &position).unwrap();
                assert!(!answered.is_null(), "{place}: {name} {example}");
            }
        }
        let counted = tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
        assert_eq!(counted["total"], 11, "{place}");
        tally.stop().unwrap();
    }
}
