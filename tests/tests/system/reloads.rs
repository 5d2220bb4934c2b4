//! SIGHUP, and a plugin file that is replaced again and again: the engine looks at once, counts on,
//! and grows only by what the documents say.

use serde_json::Value;
use std::fs;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::folder::{CONFIG, drop_in, home, post, state, until_state};
use tally_tests::footprint::{Footprint, Replaced, footprint};
use tally_tests::tally::Home;

const ALL: Value = Value::Null;

/// Lines of the log that contain all of these words.
fn lines(home: &Home, words: &[&str]) -> Vec<String> {
    let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
    log.lines()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .map(str::to_owned)
        .collect()
}

/// Waits for so many of such lines.
fn until_lines(home: &Home, client: &Client, words: &[&str], count: usize) {
    let seen = |_: &Client| {
        let found = lines(home, words);
        if found.len() >= count { Ok(String::new()) } else { Err(format!("{found:?}")) }
    };
    client.until(&format!("{count} × {words:?}"), Duration::from_secs(20), seen).unwrap();
}

const LOOKED: [&str; 1] = ["checked, as requested"];
const REFUSED: [&str; 2] = ["the configuration is not applied", "metrics.toml"];

#[test]
fn sighup_has_configuration_and_folders_looked_at_and_harms_nothing() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let pid = tally.process.pid();
    let end = post(client, 0, 1_000);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 1_000);
    tally.process.signal("HUP").unwrap();
    until_lines(&home, client, &LOOKED, 1);

    // Broken: one line when it is seen to have changed, one more for each time somebody asks;
    // everything goes on.
    home.write("metrics.toml", format!("{CONFIG}[metrics.copy]\nplugin = [\n")).unwrap();
    until_lines(&home, client, &REFUSED, 1);
    for more in 1..=2 {
        tally.process.signal("HUP").unwrap();
        until_lines(&home, client, &LOOKED, 1 + more);
        assert_eq!(lines(&home, &REFUSED).len(), 1 + more, "{:?}", lines(&home, &REFUSED));
    }
    let listing = client.get("/api/metrics").unwrap().json();
    assert_eq!(listing["rejected"].as_array().unwrap().len(), 1, "{listing}");
    let reason = listing["rejected"][0]["reason"].as_str().unwrap();
    assert!(
        !reason.contains('\n') && reason.contains("what was served stays in force"),
        "{reason}"
    );
    let end = post(client, 1_000, 2_000);
    assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], 2_000);

    // Mended, and a file beside it: when the look that was asked for is over, both are there.
    drop_in(&folder, "products_popularity");
    home.write(
        "metrics.toml",
        format!("{CONFIG}[metrics.copy]\nplugin = \"products_popularity\"\n"),
    )
    .unwrap();
    tally.process.signal("HUP").unwrap();
    until_lines(&home, client, &LOOKED, 4);
    assert!(state(client, "copy") != "absent" && state(client, "products_popularity") != "absent");
    until_state(client, "copy", "active");
    assert_eq!(client.ask("copy", &ALL, &end).unwrap()["total"], 2_000);
    assert_eq!(tally.process.pid(), pid);
    tally.stop().unwrap();
}

#[test]
fn a_file_replaced_again_and_again_costs_what_is_loaded_and_nothing_else() {
    let (home, folder) = home();
    drop_in(&folder, "event_frequencies");
    drop_in(&folder, "products_popularity");
    let tally = home.start().unwrap();
    let (client, data) = (&tally.client, home.path().join(".tally"));
    let mut posted = 0;
    let mut count_on = || {
        let end = post(client, posted, posted + 50);
        posted += 50;
        assert_eq!(client.ask("event_frequencies", &ALL, &end).unwrap()["total"], posted);
        (posted, end)
    };
    let mut file =
        Replaced::new(&folder.join("event_frequencies.so"), "event_frequencies").unwrap();
    // Whatever a first time costs.
    (0..4).for_each(|number| file.swap(&tally, number).unwrap());
    count_on();
    let before = footprint(&tally, &data).unwrap();
    assert!(before.mapped > 0 && before.loaded == 2 + 4, "{before:?}");

    // Contents that were there before are not loaded again.
    for number in 0..16 {
        file.swap(&tally, number % 4).unwrap();
        count_on();
    }
    let same = footprint(&tally, &data).unwrap();
    assert_eq!((same.loaded, same.mapped), (before.loaded, before.mapped));
    no_more(&before, &same, 0);

    // Others are, and stay in memory; on disk is only what is served.
    for number in 100..112 {
        file.swap(&tally, number).unwrap();
        count_on();
    }
    let other = footprint(&tally, &data).unwrap();
    assert_eq!(other.loaded, before.loaded + 12);
    assert!(other.mapped > before.mapped, "{other:?}");
    no_more(&same, &other, 12);
    let (posted, end) = count_on();
    assert_eq!(client.ask("products_popularity", &ALL, &end).unwrap()["total"], posted);

    // A start loads what lies in the folder, from a copy that was kept or is made again.
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(tally.client.ask("event_frequencies", &ALL, &end).unwrap()["total"], posted);
    assert_eq!(footprint(&tally, &data).unwrap().copies, 2);
    tally.stop().unwrap();
}

/// No more descriptors, mappings and copies than so many new contents need.
fn no_more(before: &Footprint, after: &Footprint, contents: u64) {
    let shown = format!("{before:?}, {after:?}");
    assert_eq!(after.copies, 2, "{shown}");
    // Connections and files of the database come and go.
    assert!(after.descriptors <= before.descriptors + 8, "{shown}");
    assert!(after.mappings <= before.mappings + 5 * contents + 40, "{shown}");
}
