//! The data directory as others see it, a catalogue that does not open, and who may ask: with the
//! binary, as it is configured.

use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use tally_tests::client::Answer;
use tally_tests::tally::Home;

const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

const LONG: Duration = Duration::from_secs(60);

const EVENT: &str = r#"{"user_id":1,"product_id":2,"event_type":"view"}"#;

/// What somebody else can read, write or enter below a folder.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let held = fs::symlink_metadata(&path).unwrap();
        if held.mode() & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), held.mode()));
        }
        if held.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

#[test]
fn what_is_kept_is_its_users_alone_under_any_mask() {
    for mask in ["000", "022", "077"] {
        let mut home = Home::new(CONFIG).unwrap();
        home.wrapped(&format!("umask {mask}")).unwrap();
        let tally = home.start().unwrap();
        let at = tally.client.post_all(EVENT).unwrap();
        tally.client.ask("event_frequencies", &json!({}), &at).unwrap();
        let data = home.path().join(".tally");
        assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o700, "{mask}");
        assert_eq!(open_to_others(&data), [""; 0], "{mask}");
        tally.stop().unwrap();
    }
}

#[test]
fn a_directory_that_is_there_is_taken_unless_everybody_may_write_to_it() {
    let home = Home::new(CONFIG).unwrap();
    let data = home.path().join(".tally");
    fs::create_dir(&data).unwrap();
    // As a volume of a group.
    fs::set_permissions(&data, Permissions::from_mode(0o2775)).unwrap();
    let tally = home.start().unwrap();
    let at = tally.client.post_all(EVENT).unwrap();
    tally.stop().unwrap();
    // As a start without care for the mask left it, once.
    for folder in [&data, &data.join("db")] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    let tally = home.start().unwrap();
    assert_eq!(tally.client.ask("event_frequencies", &json!({}), &at).unwrap()["total"], 1);
    assert_eq!(fs::metadata(data.join("db")).unwrap().mode() & 0o7777, 0o700);
    tally.stop().unwrap();

    fs::set_permissions(&data, Permissions::from_mode(0o777)).unwrap();
    let output = home.run(&["run", "--listen", "127.0.0.1:0"]).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && told.contains("everybody may write")
            && told.contains("chmod o-w"),
        "{told}"
    );
}

#[test]
fn a_catalogue_that_does_not_open_is_done_without_and_tried_again() {
    let home = Home::new(CONFIG).unwrap();
    let data = home.path().join(".tally");
    fs::create_dir(&data).unwrap();
    home.write(".tally/catalogue.sqlite", "no database, at any length ".repeat(1_000)).unwrap();
    let tally = home.start().unwrap();
    let at = tally.client.post_all(EVENT).unwrap();
    assert_eq!(
        tally.client.ask("event_frequencies", &json!({}), &at).unwrap()["total"],
        1,
        "it counts"
    );
    let says = |sign: &'static str| {
        move |answer: &Answer| answer.status == 200 && answer.text.contains(sign)
    };
    let text = tally.client.readyz("it is told", LONG, says("[!]catalogue unavailable")).unwrap();
    assert!(
        text.contains("not a database") && !text.contains(&home.path().display().to_string()),
        "{text}"
    );
    let users = tally.client.get("/api/users").unwrap();
    assert_eq!((users.status, &users.json()["code"]), (503, &json!("catalogue_unavailable")));
    fs::remove_file(data.join("catalogue.sqlite")).unwrap();
    tally.client.readyz("it is tried again", LONG, says("[+]catalogue ok")).unwrap();
    assert_eq!(tally.client.get("/api/users").unwrap().status, 200);
    tally.stop().unwrap();
}

#[test]
fn names_and_pages_that_the_configuration_lists_may_ask() {
    let listed = "[server]\nallowed_hosts = [\"tally.example\"]\nallowed_origins = [\"https://shop.example\"]\n";
    for (config, listed) in [(CONFIG, false), (listed, true)] {
        let home = Home::new(config).unwrap();
        let tally = home.start().unwrap();
        let send = |headers: &[(&str, &str)]| {
            let headers = [headers, &[("content-type", "application/json")]].concat();
            let answer = tally.client.send("POST", "/api/events", &headers, EVENT).unwrap();
            (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(send(&[]).0, 200);
        assert_eq!(send(&[("host", "evil.example")]), (403, "host_not_allowed".into()));
        assert_eq!(send(&[("origin", "http://evil.example")]), (403, "origin_not_allowed".into()));
        assert_eq!(send(&[("host", "tally.example")]).0, if listed { 200 } else { 403 });
        assert_eq!(send(&[("origin", "https://shop.example")]).0, if listed { 200 } else { 403 });
        // The program's own commands ask by a loopback name or address.
        for url in [tally.url(), tally.url().replace("127.0.0.1", "localhost")] {
            home.succeed(&["query", "event_frequencies", "--url", &url]).unwrap();
            home.succeed(&["plugin", "list", "--url", &url]).unwrap();
        }
        tally.stop().unwrap();
    }
}
