//! Everything that may land in a plugin folder: what is no good is refused with one sentence, what fails is contained, and
//! counting goes on.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tally_tests::corpus::{self, Fate, Specimen};
use tally_tests::tally::{Home, Tally, plugin};

const CONFIG: &str = r#"
[log]
partitions = 1
[plugins]
dir = "plugins"
[server]
evaluation_deadline_ms = 10000
"#;

/// A home with a folder of plugins, in which `event_frequencies` lies.
fn home(config: &str) -> (Home, PathBuf) {
    let home = Home::new(&format!("{CONFIG}{config}")).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::copy(plugin("event_frequencies").unwrap(), folder.join("event_frequencies.so")).unwrap();
    (home, folder)
}

/// Posts events and sees each of them counted; how many there are now.
fn count_on(tally: &Tally, before: u64, how_many: u64) -> u64 {
    let line = |n: u64| {
        json!({"event_id": n.to_string(), "user_id": n % 7, "product_id": n % 5, "event_type": "view"}).to_string()
            + "\n"
    };
    for n in before..before + how_many {
        let position = tally.client.post_all(&line(n)).unwrap();
        let counted = tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
        assert_eq!(counted["total"], n + 1);
    }
    before + how_many
}

/// The one refusal of a file.
fn refusal(listing: &Value, file: &str) -> String {
    let of = |rejected: &Value| Path::new(rejected["file"].as_str().unwrap()).file_name().unwrap().to_owned();
    let mut found = listing["rejected"].as_array().unwrap().iter().filter(|rejected| of(rejected) == file);
    let reason = found.next().unwrap_or_else(|| panic!("{file} is not refused: {}", listing["rejected"]));
    assert!(found.next().is_none(), "{file} is refused twice");
    reason["reason"].as_str().unwrap().to_owned()
}

fn names(listing: &Value) -> Vec<&str> {
    listing["metrics"].as_array().unwrap().iter().map(|metric| metric["name"].as_str().unwrap()).collect()
}

/// Every specimen met its fate, and is told of in the API, in the list and in the log.
fn all_is_told(home: &Home, tally: &Tally, specimens: &[Specimen]) {
    let listing = tally.client.get("/api/metrics").unwrap().json();
    let printed = home.succeed(&["plugin", "list", "--url", &tally.url()]).unwrap();
    let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
    let mut refused = 0;
    for Specimen { name, fate, .. } in specimens {
        match fate {
            Fate::Refused(says) => {
                refused += 1;
                let reason = refusal(&listing, name);
                assert!(reason.contains(says), "{name}: {reason}");
                let sentence = !reason.contains('\n') && reason.len() < 400 && reason.ends_with(')');
                assert!(sentence, "{name}: one sentence that ends with what to do: {reason}");
                let of = |line: &&str| line.starts_with("refused") && line.contains(&format!("/{name}:"));
                let line = printed.lines().find(of);
                assert!(line.is_some_and(|line| line.contains(says)), "{name}: {printed}");
                let quoted = says.replace('"', "\\\"");
                let told = log.lines().any(|line| line.contains(&format!("/{name}")) && line.contains(&quoted));
                assert!(told, "{name} is not in the log: {log}");
            }
            Fate::Serves(metric) => assert!(names(&listing).contains(metric), "{name}: {}", listing["rejected"]),
            Fate::Fails(_) => {}
        }
    }
    assert!(refused > 20, "only {refused} files were refused");
    assert_eq!(listing["rejected"].as_array().unwrap().len(), refused, "{}", listing["rejected"]);
}

#[test]
fn what_is_no_good_is_refused_with_one_sentence_in_the_log_the_api_and_the_list() {
    let (home, folder) = home("");
    let specimens = corpus::all(&folder).unwrap();
    let tally = home.start().unwrap();
    let counted = count_on(&tally, 0, 20);
    all_is_told(&home, &tally, &specimens);
    for metric in ["corpus_good", "corpus_small"] {
        let position = tally.client.post_all("{\"user_id\":1,\"product_id\":1,\"event_type\":\"view\"}\n").unwrap();
        assert!(tally.client.ask(metric, &json!({}), &position).unwrap().as_u64() > Some(counted), "{metric}");
    }
    tally.stop().unwrap();
}

#[test]
fn what_lands_while_it_runs_is_told_likewise_and_counting_goes_on() {
    let (home, folder) = home("");
    let tally = home.start().unwrap();
    let mut counted = count_on(&tally, 0, 5);
    let specimens = corpus::all(&folder).unwrap();
    let expected = specimens.iter().filter(|one| matches!(one.fate, Fate::Refused(_))).count();
    let begun = Instant::now();
    loop {
        counted = count_on(&tally, counted, 1);
        let listing = tally.client.get("/api/metrics").unwrap().json();
        let told = listing["rejected"].as_array().unwrap().len();
        let serves = |metric| names(&listing).contains(&metric);
        if told == expected && serves("corpus_good") && serves("corpus_small") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{told} of {expected}: {}", listing["rejected"]);
    }
    all_is_told(&home, &tally, &specimens);
    count_on(&tally, counted, 5);
    tally.stop().unwrap();
}

#[test]
fn a_file_that_is_copied_slowly_is_served_once_it_is_whole() {
    let (home, folder) = home("");
    let tally = home.start().unwrap();
    let (from, to) = (corpus::built("good").unwrap(), folder.join("good.so"));
    let mut counted = 0;
    // Over more than two looks at the folder.
    corpus::copy_slowly(&from, &to, 30, Duration::from_millis(100), || counted = count_on(&tally, counted, 1)).unwrap();
    let serves = |client: &tally_tests::client::Client| {
        let listing = client.get("/api/metrics").map_err(|fault| format!("{fault:#}"))?.json();
        let whole = names(&listing).contains(&"corpus_good") && listing["rejected"] == json!([]);
        if whole { Ok(String::new()) } else { Err(listing["rejected"].to_string()) }
    };
    tally.client.until("it is served", Duration::from_secs(60), serves).unwrap();
    count_on(&tally, counted, 3);
    tally.stop().unwrap();
}

#[test]
fn one_that_fails_when_it_is_used_stands_alone_and_the_others_count_on() {
    let (home, folder) = home("");
    let specimens = corpus::failing(&folder).unwrap();
    let tally = home.start().unwrap();
    // One that fails on each event is stopped after a hundred of them on a partition: there are four.
    let counted = count_on(&tally, 0, 1_000);
    let listing = tally.client.get("/api/metrics").unwrap().json();
    for Specimen { name, fate, .. } in &specimens {
        let Fate::Fails(metric) = fate else { panic!("{name} is meant to fail") };
        assert!(names(&listing).contains(metric), "{name}: {}", listing["rejected"]);
    }
    let stopped = |client: &tally_tests::client::Client| {
        let told = client.get("/api/metrics/corpus_update").map_err(|fault| format!("{fault:#}"))?.text;
        if told.contains("quarantined") && told.contains("broken in update") { Ok(told) } else { Err(told) }
    };
    tally.client.until("it is told why it stands still", Duration::from_secs(30), stopped).unwrap();
    let answer = tally.client.evaluate(&json!({"name": "corpus_update"})).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text);
    let answer = tally.client.evaluate(&json!({"name": "corpus_answer"})).unwrap();
    assert!(answer.status == 500 && answer.text.contains("plugin_failed"), "{} {}", answer.status, answer.text);
    count_on(&tally, counted, 10);
    tally.stop().unwrap();
}

#[test]
fn with_a_list_of_checksums_only_what_it_names_runs() {
    let (home, folder) = home("");
    let config =
        |word: &str| CONFIG.replace("dir = \"plugins\"", &format!("dir = \"plugins\"\nchecksums = \"{word}\""));
    fs::copy(corpus::built("good").unwrap(), folder.join("good.so")).unwrap();
    let sum =
        std::process::Command::new("sha256sum").arg("event_frequencies.so").current_dir(&folder).output().unwrap();
    fs::write(folder.join("SHA256SUMS"), sum.stdout).unwrap();
    for (word, serves) in [("enforce", false), ("warn", true), ("off", true)] {
        home.write("metrics.toml", config(word)).unwrap();
        fs::write(home.path().join("stderr.log"), "").unwrap();
        let tally = home.start().unwrap();
        let listing = tally.client.get("/api/metrics").unwrap().json();
        assert!(names(&listing).contains(&"event_frequencies"), "{word}: {listing}");
        assert_eq!(names(&listing).contains(&"corpus_good"), serves, "{word}: {listing}");
        let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
        assert_eq!(log.contains("is not in SHA256SUMS: it has sha256"), word != "off", "{word}: {log}");
        if !serves {
            assert!(refusal(&listing, "good.so").contains("is not in SHA256SUMS"), "{listing}");
        }
        tally.stop().unwrap();
    }
}

#[test]
fn export_metric_does_not_compile_with_panic_abort() {
    let said = corpus::aborting_by_macro().unwrap();
    assert!(said.contains("build metric plugins with panic"), "{said}");
}
