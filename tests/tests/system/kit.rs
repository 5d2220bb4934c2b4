//! The author's kit: `tally plugin check`, `test` and `new`, over plugin files that are good and
//! such that are not.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;
use tally_tests::corpus::built;
use tally_tests::tally::{Home, plugin};

fn home() -> Home {
    Home::new("").unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The line of a check: its mark, and what it says.
fn line<'t>(text: &'t str, check: &str) -> (char, &'t str) {
    let of = |line: &&str| line.split_whitespace().nth(1) == Some(check);
    let line = text.lines().find(of).unwrap_or_else(|| panic!("no line {check}: {text}"));
    (line.chars().next().unwrap(), line)
}

#[test]
fn a_good_file_has_a_mark_on_every_line_and_a_bad_one_says_where_and_ends_with_1() {
    let home = home();
    for shipped in ["event_frequencies", "products_popularity", "user_activities"] {
        let text =
            home.succeed(&["plugin", "check", plugin(shipped).unwrap().to_str().unwrap()]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 15, "{text}");
        assert!(lines[..14].iter().all(|line| line.starts_with("✓ ")), "{text}");
        assert!(lines[14].starts_with("usable: cp ") && !text.contains('\u{1b}'), "{text}");
    }
    home.write("script.so", "#!/bin/sh\n").unwrap();
    let bad = [
        ("file", "no ELF header", home.path().join("script.so")),
        ("file", "cannot be read", home.path().join("gone.so")),
        ("handshake", "not a Tally plugin", built("unexported").unwrap()),
        ("handshake", "build it with panic = \"unwind\"", built("abort").unwrap()),
        ("layout", "another layout", built("layout").unwrap()),
        ("layout", "panicked: broken in about", built("about").unwrap()),
        ("description", "panicked: broken in create", built("create").unwrap()),
        ("description", "panicked: broken in describe", built("describe").unwrap()),
        ("description", "its params schema cannot be used", built("schema").unwrap()),
        ("description", "is longer than 256 KiB", built("descriptor").unwrap()),
        ("description", "ended the process: exit code 0", built("exit").unwrap()),
        ("examples", "panicked: broken in update", built("update").unwrap()),
        ("examples", "panicked: broken in answer", built("answer").unwrap()),
        ("examples", "ended the process: SIGSEGV", built("segfault").unwrap()),
        ("examples", "did not return within 2 s and was ended", built("loop").unwrap()),
        ("views", "a hint is read on properties alone", built("views").unwrap()),
        ("split", "cutting the log into other batches changes the state", built("split").unwrap()),
        ("silence", "lines to stdout, the first: row 0", built("print").unwrap()),
    ];
    for (check, words, file) in bad {
        // Short only where the end of the time is what is looked for.
        let limit = if words.contains("2 s") { "2s" } else { "2m" };
        let output =
            home.run(&["plugin", "check", file.to_str().unwrap(), "--timeout", limit]).unwrap();
        let (text, told) = (out(&output), err(&output));
        assert_eq!(output.status.code(), Some(1), "{check}: {text}{told}");
        let (mark, said) = line(&text, check);
        assert!(mark == '✗' && said.contains(words), "{check}: {text}{told}");
        assert!(told.contains("is not usable") && !text.contains("usable:"), "{text}{told}");
        let before = text.lines().take_while(|line| line.split_whitespace().nth(1) != Some(check));
        assert!(
            before.into_iter().all(|line| line.starts_with('✓')),
            "{check} is the first: {text}"
        );
        assert_eq!(text.lines().count(), 14, "a line for each check, looked at or not: {text}");
    }
}

#[test]
fn check_takes_a_configuration_and_speaks_json() {
    let home = home();
    let file = plugin("products_popularity").unwrap();
    let file = file.to_str().unwrap();
    home.write("good.toml", "[weights]\nbuy = 7\n").unwrap();
    home.write("good.json", "{\"weights\":{\"buy\":7}}").unwrap();
    for config in ["good.toml", "good.json", "{\"weights\":{\"buy\":7}}"] {
        home.succeed(&["plugin", "check", file, "--config", config]).unwrap();
    }
    let output =
        home.run(&["plugin", "check", file, "--config", "{\"weight\":{}}", "--json"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&told["usable"], told["checks"].as_array().unwrap().len()), (&json!(false), 14));
    let check = |name: &str| {
        told["checks"].as_array().unwrap().iter().find(|one| one["check"] == name).unwrap().clone()
    };
    assert_eq!((&check("layout")["ok"], &check("split")["ok"]), (&json!(true), &json!(null)));
    let fault = check("description");
    assert!(
        fault["ok"] == false && fault["detail"].as_str().unwrap().contains("weight"),
        "{fault}"
    );
    for (config, words) in
        [("gone.toml", "cannot be read"), ("{", "is unreadable"), ("metrics.toml", "--config")]
    {
        let output = home.run(&["plugin", "check", file, "--config", config]).unwrap();
        if config == "metrics.toml" {
            assert_eq!(
                output.status.code(),
                Some(0),
                "an empty file is an empty configuration: {}",
                err(&output)
            );
        } else {
            assert!(
                output.status.code() == Some(2) && err(&output).contains(words),
                "{}",
                err(&output)
            );
        }
    }
}

#[test]
fn golden_cases_are_compared_and_written() {
    let home = home();
    let file = built("good").unwrap();
    let run = |args: &[&str]| {
        let all = [&["plugin", "test", "cases", "--file", file.to_str().unwrap()], args].concat();
        let output = home.run(&all).unwrap();
        (output.status.code().unwrap(), out(&output), err(&output))
    };
    assert!(run(&[]).2.contains("cases cannot be read"));
    let case = home.path().join("cases/two");
    fs::create_dir_all(&case).unwrap();
    let event = |n: u64| {
        json!({"user_id": n, "event_type": "view", "timestamp": format!("2026-01-01T0{n}:00:00Z")})
            .to_string()
    };
    fs::write(case.join("events.ndjson"), format!("# two\n{}\n{}\n", event(1), event(2))).unwrap();
    fs::write(case.join("questions.ndjson"), "{}\n{\"window\":\"10m\"}\n").unwrap();
    let (code, text, told) = run(&[]);
    assert_eq!((code, text.lines().count()), (1, 7), "{text}{told}");
    assert!(text.contains("expected null\n    answered 2\n"), "{text}");
    let (code, text, _) = run(&["--update"]);
    assert!(code == 0 && text.contains("2 of them written to answers.ndjson"), "{text}");
    assert_eq!(fs::read_to_string(case.join("answers.ndjson")).unwrap(), "2\n1\n");
    assert_eq!(run(&[]).0, 0);
    // What is unreadable is a fault, and written anew where that is wished.
    fs::write(case.join("answers.ndjson"), "2\nnothing\n").unwrap();
    assert_eq!(run(&[]).0, 1);
    assert_eq!(run(&["--update"]).0, 0);
    assert_eq!(fs::read_to_string(case.join("answers.ndjson")).unwrap(), "2\n1\n");

    fs::write(case.join("answers.ndjson"), "2\n3\n").unwrap();
    let (code, text, told) = run(&["--json"]);
    let shown: Value = serde_json::from_str(&text).unwrap();
    let differences = json!([{"question": {"window": "10m"}, "expected": 3, "answered": 1}]);
    assert_eq!((code, &shown["cases"][0]["differences"]), (1, &differences), "{text}{told}");
    fs::write(case.join("events.ndjson"), "{}\n").unwrap();
    let (code, text, _) = run(&[]);
    assert!(
        code == 1 && text.contains("✗ two          events.ndjson:1: event_type is missing"),
        "{text}"
    );
    fs::write(case.join("events.ndjson"), event(1)).unwrap();
    fs::write(case.join("config.json"), "[]").unwrap();
    assert_eq!(run(&[]).0, 1, "a configuration that is none");

    let crashes = built("segfault").unwrap();
    fs::remove_file(case.join("config.json")).unwrap();
    let output =
        home.run(&["plugin", "test", "cases", "--file", crashes.to_str().unwrap()]).unwrap();
    assert!(
        output.status.code() == Some(1) && out(&output).contains("SIGSEGV"),
        "{}",
        out(&output)
    );
}

#[test]
fn new_checks_the_name_and_the_folder_and_says_where_the_contract_comes_from() {
    let home = home();
    let fails = |args: &[&str], code: i32, words: &str| {
        let output = home.run(&[&["plugin", "new"], args].concat()).unwrap();
        assert!(
            output.status.code() == Some(code) && err(&output).contains(words),
            "{args:?}: {}",
            err(&output)
        );
    };
    fails(&["Basket-Size"], 2, "basket_size?");
    fails(&["../x"], 2, "is not a metric name");
    fails(&["struct"], 2, "cannot name a Rust crate");
    fails(&["x", "--sdk", "/nowhere"], 2, "no tally-plugin found");
    fs::create_dir(home.path().join("full")).unwrap();
    fs::write(home.path().join("full/file"), "").unwrap();
    fails(&["full"], 1, "already exists and is not empty");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap();
    let text =
        home.succeed(&["plugin", "new", "basket_size", "--sdk", root.to_str().unwrap()]).unwrap();
    assert!(
        text.contains(&format!("tally-plugin, from {}", root.join("plugin-api").display())),
        "{text}"
    );
    let manifest: toml::Table =
        fs::read_to_string(home.path().join("basket_size/Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["dependencies"].as_table().unwrap().len(), 1, "{manifest}");
    let kit: Vec<&String> = manifest["dev-dependencies"].as_table().unwrap().keys().collect();
    assert_eq!(kit, ["tally-testkit"], "{manifest}");
    let text = home
        .succeed(&["plugin", "new", "x", "--dir", "y/z", "--sdk", "https://git.example/tally"])
        .unwrap();
    assert!(
        text.contains("created y/z/") && text.contains("from https://git.example/tally"),
        "{text}"
    );
    let output = home.run(&["plugin", "test", "basket_size"]).unwrap();
    assert!(
        err(&output).contains("libbasket_size.so is not built: cargo build --release"),
        "{}",
        err(&output)
    );
}
