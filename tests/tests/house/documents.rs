//! What the documents say is so: commands run, links lead somewhere, tests that are named exist.

use super::none;
use super::reading::{files, read, root};
use std::path::Path;

#[test]
fn the_readme_and_ci_run_the_same_commands() {
    let readme = read("README.md");
    for command in ["cargo build --release && target/release/tally demo", "./check"] {
        assert!(
            readme.lines().any(|line| line.trim() == command),
            "README.md no longer says `{command}`"
        );
    }
    let last = |path: &str| read(path).lines().last().unwrap_or_default().to_owned();
    assert_eq!(last(".ci/run"), "exec ./check", "CI runs what a person runs");
    let check = read("check");
    for command in [
        "fmt --all --check",
        "build --release",
        "clippy --release",
        "doc --release",
        "test --release",
        "test --release --locked -p tally-schema --features oracle oracle_tests::",
    ] {
        assert!(
            check.contains(&format!("cargo {command}")),
            "check no longer runs cargo {command}"
        );
    }
    for script in ["check", ".ci/run"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &root().join(script).metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be executed");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    let mut followed = 0;
    for document in files(".md") {
        let folder = root().join(Path::new(&document).parent().unwrap());
        let text = read(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let elsewhere = ["http://", "https://", "mailto:", "#"]
                .iter()
                .any(|start| target.starts_with(start));
            let file = target.split('#').next().unwrap_or_default();
            followed += usize::from(!elsewhere);
            if !elsewhere && !folder.join(file).exists() {
                faults.push(format!("{document}: {target} is not there"));
            }
        }
    }
    assert!(followed > 5, "only {followed} links were found");
    none(faults);
}

/// What plugins and host owe each other.
const CONTRACT: &str = "docs/plugin-contract.md";

#[test]
fn every_line_of_the_contract_names_its_test() {
    let text = read(CONTRACT);
    let items =
        text.split("\n* ").skip(1).map(|item| item.split("\n\n").next().unwrap_or_default());
    let (mut faults, mut binding) = (Vec::new(), 0);
    for item in items {
        let binds = item.contains("**MUST") || item.contains("**SHOULD");
        binding += usize::from(binds);
        if !binds || !item.contains(".rs::") {
            faults.push(format!("neither MUST nor SHOULD, or no test: {item}"));
        }
    }
    assert!(binding > 20, "only {binding} lines bind");
    for law in laws() {
        if !text.contains(&format!("`{law}`")) {
            faults.push(format!("{CONTRACT} does not name the law {law}"));
        }
    }
    none(faults);
}

/// The laws of the test kit, by name.
fn laws() -> Vec<String> {
    let source = read("plugin-api/testkit/src/conformance.rs");
    let names = source.split("Law {").skip(1).filter_map(|rest| {
        let name = rest.trim_start().strip_prefix("name: \"")?;
        name.split('"').next()
    });
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 5, "{names:?}");
    names
}

/// Tests are cited as `path/to/file.rs::test`.
#[test]
fn tests_that_are_cited_exist() {
    let mut faults = Vec::new();
    let documents = [
        "ARCHITECTURE.md",
        "docs/guarantees.md",
        "docs/delivery.md",
        "docs/decisions/0003-fence.md",
    ];
    for document in documents.into_iter().chain([CONTRACT, "docs/plugin-guide.md"]) {
        let text = read(document);
        let quoted = text.split('`').skip(1).step_by(2);
        let cited: Vec<(&str, &str)> =
            quoted.filter_map(|quote| quote.split_once(".rs::")).collect();
        assert!(!cited.is_empty(), "{document} cites no test");
        for (file, test) in cited {
            let path = format!("{file}.rs");
            let exists = root().join(&path).exists() && {
                let text = read(&path);
                text.contains(&format!("fn {test}("))
            };
            if !exists {
                faults.push(format!("{document}: there is no test {path}::{test}"));
            }
        }
    }
    none(faults);
}

#[test]
fn every_invariant_names_its_test() {
    let text = read("ARCHITECTURE.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Invariants")).unwrap();
    let mut items: Vec<String> = Vec::new();
    for line in section.lines() {
        let number = line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        match items.last_mut() {
            _ if number => items.push(line.to_owned()),
            Some(item) => item.push_str(line),
            None => {}
        }
    }
    assert!(items.len() >= 7, "{items:?}");
    none(
        items
            .into_iter()
            .filter(|item| !item.contains(".rs::"))
            .map(|item| format!("no test: {item}"))
            .collect(),
    );
}

#[test]
fn the_example_of_a_plugin_is_the_one_that_is_compiled() {
    let source = read("plugin-api/src/metric.rs");
    let documented = source.split("/// ```\n").nth(1).unwrap().lines().map(|line| {
        let line = line.strip_prefix("///").unwrap();
        line.strip_prefix(' ').unwrap_or(line)
    });
    // Lines that begin with `#` and a space, or are nothing else, are compiled and not shown.
    let compiled: Vec<&str> =
        documented.filter(|line| *line != "#" && !line.starts_with("# ")).collect();
    let text = read("docs/plugins.md");
    let shown = text.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown.lines().collect::<Vec<_>>(), compiled);
    let guide = read("docs/plugin-guide.md");
    let shown = guide.split("```rust,ignore\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown, read("examples/buy_rate/src/lib.rs"), "the example outside of the workspace");
}
