//! What an earlier version stored is opened by this one, answers the same, counts on, and still
//! equals its log.
//!
//! Each folder `tests/fixtures/state-N` holds what the version that wrote format N left behind when
//! it was killed: a data directory with the embedded store, one with the dump of a Redis, questions
//! with that version's answers before and after some more events (`tests/fixtures/state-1/keep`
//! makes it). Versions are refused or opened; nothing is counted anew in silence.

use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

/// How long a busy machine may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The folders, one of each format.
fn kept() -> Vec<PathBuf> {
    let fixtures = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap();
    let folders = fixtures.map(|entry| entry.unwrap().path());
    let kept: Vec<PathBuf> =
        folders.filter(|path| path.is_dir() && path.join("answers.json").exists()).collect();
    assert!(!kept.is_empty());
    kept
}

/// A home as it was left.
fn unpack(archive: &Path) -> Home {
    let home = Home::new("").unwrap();
    let unpacked = Command::new("tar").arg("xJf").arg(archive).arg("-C").arg(home.path()).output();
    let unpacked = unpacked.expect("tar: apt-get install tar xz-utils");
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    home
}

/// Asks every question at the position of its kept answer, and names those that are answered
/// otherwise.
fn differences(tally: &Tally, questions: &[Value], moment: &str) -> Vec<String> {
    let mut differ = Vec::new();
    for question in questions {
        let mut kept = question[moment].clone();
        drop_details(&mut kept);
        let position = kept["meta"]["position"].as_str().unwrap();
        let name = question["name"].as_str().unwrap();
        let said = tally.client.answer(name, &question["params"], position).unwrap();
        let mut meta = Map::new();
        for key in ["window", "position"].into_iter().filter(|key| !said["meta"][key].is_null()) {
            meta.insert(key.into(), said["meta"][key].clone());
        }
        meta.insert("history".into(), said["meta"]["history"]["state"].clone());
        let mut said =
            json!({"result": said["result"], "meta": meta, "warnings": said["warnings"]});
        drop_details(&mut said);
        if said != kept {
            differ
                .push(format!("{moment}: {name} {}\nkept {kept}\nsaid {said}", question["params"]));
        }
    }
    differ
}

/// Leaves of warnings what programs read: the sentences of a version are its own.
fn drop_details(answer: &mut Value) {
    let warnings = answer["warnings"].as_array_mut().into_iter().flatten();
    warnings.filter_map(Value::as_object_mut).for_each(|warning| drop(warning.remove("detail")));
}

/// Every question is answered as it was: at once, but for which keys count together, which a shared
/// store shows in full until the lane has looked.
fn until_equal(tally: &Tally, questions: &[Value], moment: &str) {
    let equal = |_: &Client| {
        let differ = differences(tally, questions, moment);
        if differ.is_empty() { Ok(String::new()) } else { Err(differ.join("\n")) }
    };
    tally.client.until("every question is answered as it was", LIMIT, equal).unwrap();
}

/// The home is opened, answers as it did, counts `more`, answers as the old version did then, and
/// equals its log.
fn goes_on(home: &Home, folder: &Path) {
    let questions: Vec<Value> =
        serde_json::from_slice(&fs::read(folder.join("answers.json")).unwrap()).unwrap();
    let tally = home.start().unwrap();
    until_equal(&tally, &questions, "before");
    let more = fs::read_to_string(folder.join("more.ndjson")).unwrap();
    let refused: usize =
        more.lines().map(|line| tally.client.events(line).unwrap().rejected.len()).sum();
    assert!(refused > 0, "some of them are no events");
    until_equal(&tally, &questions, "after");
    let verified = home.run(&["verify", "--json", "--url", &tally.url()]).unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}{}", String::from_utf8_lossy(&verified.stderr));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["equal"], true, "{said}");
    tally.stop().unwrap();
    // And once more what this version has written itself.
    let tally = home.start().unwrap();
    until_equal(&tally, &questions, "after");
    tally.stop().unwrap();
}

#[test]
fn a_data_directory_of_an_earlier_version_is_opened_and_counted_on() {
    for folder in kept() {
        goes_on(&unpack(&folder.join("embedded.tar.xz")), &folder);
    }
}

#[test]
fn a_redis_of_an_earlier_version_is_opened_and_counted_on() {
    for folder in kept() {
        let mut home = unpack(&folder.join("redis.tar.xz"));
        let redis = Redis::start(&["--dir", home.path().to_str().unwrap()]).unwrap();
        home.env("REDIS_URL", &redis.url());
        goes_on(&home, &folder);
    }
}

/// A version that did not read what is stored would count the log anew; this log is gone, so it
/// would show.
#[test]
fn what_is_no_longer_in_the_log_is_still_counted() {
    for folder in kept() {
        let questions: Vec<Value> =
            serde_json::from_slice(&fs::read(folder.join("answers.json")).unwrap()).unwrap();
        let home = unpack(&folder.join("embedded.tar.xz"));
        let config = fs::read_to_string(home.path().join("metrics.toml")).unwrap();
        home.write("metrics.toml", config.replace("retention = \"all\"", "retention = \"1m\""))
            .unwrap();
        let tally = home.start().unwrap();
        until_equal(&tally, &questions, "before");
        tally.stop().unwrap();
    }
}
