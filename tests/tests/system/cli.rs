//! The command line as a user meets it: help, usage errors, configuration, exit codes. An engine
//! runs only where dead letters are listed and state is shown.
//!
//! The binary is `TALLY_BIN`, else `tally` in the target folder of this test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tally_tests::client::Client;
use tally_tests::tally::Home;

fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("TALLY_BIN") {
        return binary.into();
    }
    // target/release/deps/cli-… → target/release/tally
    let test = std::env::current_exe().unwrap();
    let binary = test.parent().and_then(Path::parent).unwrap().join("tally");
    assert!(binary.exists(), "{} is missing; build it or set TALLY_BIN", binary.display());
    binary
}

/// Runs in an empty folder without the environment of the one who tests.
fn tally_in(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).current_dir(folder).env_clear().envs(env.iter().copied());
    command.output().unwrap()
}

fn tally(args: &[&str]) -> Output {
    tally_in(tempfile::tempdir().unwrap().path(), args, &[])
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn alone_it_prints_a_short_help_led_by_examples() {
    let output = tally(&[]);
    let text = out(&output);
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
    assert!(text.lines().count() <= 20, "{text}");
    let examples: Vec<&str> = text.lines().filter(|line| line.starts_with("  tally ")).collect();
    assert_eq!(examples.len(), 3, "{text}");
}

#[test]
fn every_command_has_help() {
    for command in [
        &["demo"][..],
        &["run"],
        &["produce"],
        &["query"],
        &["plugin", "list"],
        &["plugin", "new"],
        &["plugin", "check"],
        &["plugin", "test"],
        &["dead-letters"],
        &["context", "list"],
        &["context", "set"],
        &["lag"],
        &["top"],
        &["tap"],
        &["mcp"],
        &["verify"],
        &["state", "tables"],
        &["state", "buckets"],
        &["state", "get"],
        &["import"],
        &["migrate"],
        &["config", "show"],
        &["config", "check"],
    ] {
        let output = tally(&[command, &["--help"]].concat());
        assert_eq!(code(&output), 0, "{command:?}");
        assert!(out(&output).contains("Usage: tally"), "{}", out(&output));
        assert!(!out(&output).contains('\u{1b}'), "colour in a pipe");
    }
    assert!(out(&tally(&["--version"])).starts_with("tally "));
}

#[test]
fn wrong_usage_is_2_and_says_what_was_meant() {
    let wrong: [(&[&str], &str); 24] = [
        (&["dead-letters", "--limit", "0"], "1..=100"),
        (&["dead-letters", "--limit", "101"], "1..=100"),
        (&["dead-letters", "--reason", "a&b"], "as it is listed"),
        (&["state", "get", "a b", "k"], "METRIC/TABLE"),
        (&["rum"], "'run'"),
        (&["run", "--lisen", "127.0.0.1:0"], "'--listen'"),
        (&["run", "--listen", "here"], "--listen"),
        (&["query"], "NAME"),
        (&["query", "x", "{limit:5}"], "not JSON"),
        (&["query", "x", "[]"], "JSON object"),
        (&["query", "x", "--url", "https://x"], "https is not supported"),
        (&["query", "x", "--limit", "1"], "--watch"),
        (&["query", "x", "--watch", "--interval", "25h"], "at most 24h"),
        (&["produce", "--rate", "0"], "events a second"),
        (&["demo", "--rate=-1"], "or 0 for none"),
        (&["demo", "--rate", "fast"], "or 0 for none"),
        (&["produce", "--map", "a=b"], "--from"),
        (&["demo", "--duration", "soon"], "is not a duration"),
        (&["top"], "tally lag --json"),
        (&["tap", "--since", "0"], "is not PARTITION:OFFSET"),
        (&["tap", "--type", "Buy"], "a type is a-z first, then a-z, 0-9 or _"),
        (&["query", "x", "--expand", "prices"], "[possible values: names]"),
        (&["tap", "--user", ""], "must not be empty"),
        (&["tap", "--limit", "0"], "1.."),
    ];
    for (args, words) in wrong {
        let output = tally(args);
        assert_eq!((code(&output), out(&output).as_str()), (2, ""), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(words), "{args:?}: {}", err(&output));
    }
}

#[test]
fn a_demo_at_rate_0_makes_no_events() {
    let folder = tempfile::tempdir().unwrap();
    let output = tally_in(
        folder.path(),
        &["demo", "--rate", "0", "--duration", "1s", "--listen", "127.0.0.1:0"],
        &[],
    );
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(
        out(&output).ends_with("stopping… 0 events processed, 0 committed, 0 lost\n"),
        "{}",
        out(&output)
    );
}

/// A demo that is to open its page, and where it was.
fn opening_demo(folder: &Path, openers: &Path) -> (Output, String) {
    let args = ["demo", "--rate", "0", "--duration", "1s", "--listen", "127.0.0.1:0", "--open"];
    let output = tally_in(folder, &args, &[("PATH", openers.to_str().unwrap())]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let printed = out(&output);
    let page = printed.split_whitespace().next().unwrap().to_owned();
    assert!(page.starts_with("http://127.0.0.1:") && page.ends_with('/'), "{printed}");
    (output, page)
}

#[test]
fn a_demo_prints_its_address_first_and_needs_no_browser() {
    let (folder, openers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (output, _) = opening_demo(folder.path(), openers.path());
    assert!(err(&output).contains("note: no browser was opened ("), "{}", err(&output));
}

#[test]
fn a_demo_opens_its_page_and_waits_for_no_browser() {
    let (folder, openers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let seen = openers.path().join("seen");
    // It stays, as a browser does, until the folder is gone.
    let script = format!(
        "#!/bin/sh\necho \"$1\" > {0}.part && /bin/mv {0}.part {0}\nwhile [ -e {0} ]; do /bin/sleep 0.1; done\n",
        seen.display()
    );
    for name in ["xdg-open", "open"] {
        let opener = openers.path().join(name);
        std::fs::write(&opener, &script).unwrap();
        std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let (_, page) = opening_demo(folder.path(), openers.path());
    let end = Instant::now() + Duration::from_secs(20);
    while !seen.exists() && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(std::fs::read_to_string(&seen).unwrap().trim(), page);
}

#[test]
fn no_engine_is_said_with_a_remedy() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    for args in [
        &["query", "x", "--url", &url][..],
        &["plugin", "list", "--url", &url],
        &["dead-letters", "--url", &url],
        &["produce", "--count", "1", "--url", &url],
    ] {
        let output = tally(args);
        assert_eq!((code(&output), out(&output).as_str()), (1, ""), "{args:?}");
        let expected = format!(
            "error: no engine answers at {url}; start one with `tally run` or give --url\n"
        );
        assert_eq!(err(&output), expected);
    }
}

#[test]
fn a_port_in_use_is_said_with_a_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["run", "demo"] {
        let output = tally(&[command, "--listen", &address]);
        assert_eq!(code(&output), 1, "{}", err(&output));
        assert_eq!(err(&output), format!("error: {address} is in use; try --listen 127.0.0.1:0\n"));
    }
}

#[test]
fn config_show_names_the_origin_of_every_value_and_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[kafka]\ngroup = \"g\"\n[kafka.settings]\n\"sasl.password\" = \"hush\"\n";
    std::fs::write(folder.path().join("metrics.toml"), file).unwrap();
    let env = [
        ("TOPIC", "clicks"),
        ("REDIS_URL", "redis://:hush@x"),
        ("POSTGRES_URL", "postgres://u:hush@db/t"),
    ];
    let output = tally_in(folder.path(), &["config", "show"], &env);
    let text = out(&output);
    assert_eq!(code(&output), 0);
    let has = |key: &str, origin: &str| {
        text.lines().any(|line| line.starts_with(key) && line.ends_with(origin))
    };
    assert!(has("kafka.topic = \"clicks\"", "(env TOPIC)"), "{text}");
    assert!(has("kafka.group = \"g\"", "(file metrics.toml:2)"), "{text}");
    assert!(has("log.partitions = 4", "(default)"), "{text}");
    assert!(has("kafka.settings.\"sasl.password\" = ***", "(file metrics.toml:4)"), "{text}");
    assert!(
        has("catalogue.postgres_url = \"postgres://***@db/t\"", "(env POSTGRES_URL)"),
        "{text}"
    );
    assert!(!text.contains("hush") && !err(&output).contains("hush"));
    assert!(has("redis.url = \"redis://***@x\"", "(env REDIS_URL)"), "{text}");
    assert!(has("store.kind = \"redis\"", "(env REDIS_URL)"), "{text}");
    assert_eq!(err(&output), "");

    let json = tally_in(folder.path(), &["config", "show", "--json"], &env);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let settings = json["settings"].as_array().unwrap();
    let topic = settings.iter().find(|setting| setting["key"] == "kafka.topic").unwrap();
    assert_eq!(
        (topic["value"].as_str(), topic["origin"].as_str()),
        (Some("clicks"), Some("env TOPIC"))
    );
}

#[test]
fn config_check_accepts_nothing_the_shipped_file_and_refuses_broken_ones_with_78() {
    let nothing = tally(&["config", "check"]);
    assert_eq!((code(&nothing), err(&nothing).as_str()), (0, ""));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics.toml");
    let output = tally(&["config", "check", "-c", shipped.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", err(&output));

    let folder = tempfile::tempdir().unwrap();
    let broken: [(&str, &str); 6] = [
        (
            "[kafka]\nbrokerz = \"a:1\"\n",
            "metrics.toml:2:1: unknown key `brokerz` in [kafka]; did you mean `brokers`?",
        ),
        ("[log]\npartitions = \"4\"\n", "metrics.toml:2:14: log.partitions must be a whole number"),
        (
            "[log]\nretention = \"soon\"\n",
            "metrics.toml:2:13: log.retention \"soon\" is not a duration",
        ),
        ("[server]\nlisten = \"0.0.0.0:1\"\n", "metrics.toml:2:10: server.listen"),
        ("[kafka\n", "metrics.toml:1:7: "),
        ("[metrics.Top]\n", "metrics.toml:1:10: metrics.Top"),
    ];
    for (text, words) in broken {
        std::fs::write(folder.path().join("metrics.toml"), text).unwrap();
        for command in
            [&["config", "check"][..], &["config", "show"], &["run"], &["produce", "--count", "1"]]
        {
            let output = tally_in(folder.path(), command, &[]);
            assert_eq!(
                (code(&output), out(&output).as_str()),
                (78, ""),
                "{command:?} {text:?}: {}",
                err(&output)
            );
            assert!(err(&output).starts_with(&format!("error: {words}")), "{}", err(&output));
        }
    }
    for args in [&["config", "check", "-c", "gone.toml"][..], &["run", "-c", "gone.toml"]] {
        let output = tally(args);
        assert_eq!(code(&output), 78);
        assert!(err(&output).contains("gone.toml: the file does not exist"), "{}", err(&output));
    }
    let output = tally_in(
        tempfile::tempdir().unwrap().path(),
        &["config", "check"],
        &[("KAFKA_BROKER", "nohost")],
    );
    assert_eq!(code(&output), 78);
    assert!(
        err(&output).contains("environment variable KAFKA_BROKER: kafka.brokers"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_file_that_cannot_be_replayed_is_said_before_anything_is_sent() {
    let output = tally(&["produce", "--from", "gone.csv"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("gone.csv cannot be read"), "{}", err(&output));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "uid,product_id,event_type\n1,2,view\n").unwrap();
    let output = tally_in(folder.path(), &["produce", "--from", "a.csv"], &[]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("--map user_id=COLUMN"), "{}", err(&output));
}

#[test]
fn dead_letters_are_listed_with_reason_and_place() {
    // What one reading of events accepts is refused by another: so the embedded log comes to hold
    // what cannot be an event.
    let home = Home::new("[log]\npartitions = 1\n[events]\nrequired = [\"user_id\"]\n").unwrap();
    let tally = home.start().unwrap();
    let listed = |url: &str, args: &[&str]| {
        let all = [&["dead-letters", "--url", url], args].concat();
        home.succeed(&all).unwrap()
    };
    assert_eq!(listed(&tally.url(), &[]), "no dead letters\n");
    tally
        .client
        .post_all("{\"user_id\":1}\n{\"user_id\":2,\"product_id\":3}\n{\"user_id\":3}\n")
        .unwrap();
    tally.stop().unwrap();

    home.write("metrics.toml", "[log]\npartitions = 1\n").unwrap();
    let tally = home.start().unwrap();
    let good = "{\"user_id\":1,\"product_id\":1,\"event_type\":\"view\"}\n";
    let position = tally.client.post_all(good).unwrap();
    // What answered goes on until the other reading has counted the log.
    let one = |client: &Client| {
        let counted = client
            .ask("event_frequencies", &serde_json::json!({}), &position)
            .map_err(|fault| fault.to_string())?;
        if counted["total"] == 1 { Ok(String::new()) } else { Err(counted.to_string()) }
    };
    tally
        .client
        .until("events are read as it is configured now", std::time::Duration::from_secs(30), one)
        .unwrap();
    // Letters are written with the commit.
    let all = tally.client.until(
        "the letters are stored",
        std::time::Duration::from_secs(30),
        |client| {
            let text = client.get("/api/dead-letters").map_err(|fault| format!("{fault:#}"))?.text;
            if text.matches("\"offset\"").count() == 3 { Ok(text) } else { Err(text) }
        },
    );
    let printed = listed(&tally.url(), &["--json"]);
    assert_eq!(printed.trim_end(), all.unwrap(), "the whole answer on one line");
    let json: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let offsets: Vec<u64> = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, [2, 1, 0], "newest first");
    assert_eq!(json["items"][1]["text"], "{\"user_id\":2,\"product_id\":3}");
    let counts = serde_json::json!({"missing_field:event_type": 1, "missing_field:product_id": 2});
    assert_eq!(json["counts"], counts);

    let table = listed(&tally.url(), &["--reason", "missing_field:product_id", "--limit", "1"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "a header, a letter, two totals: {table}");
    assert!(
        lines[0].contains("REASON") && lines[1].contains("missing_field:product_id"),
        "{table}"
    );
    assert!(lines[1].ends_with("{\"user_id\":3}"), "{table}");
    assert_eq!(
        &lines[2..],
        ["total  missing_field:event_type: 1", "total  missing_field:product_id: 2"]
    );
    tally.stop().unwrap();
}

#[test]
fn state_is_shown_by_table_bucket_and_cell() {
    let home = Home::new("[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = 50\n").unwrap();
    let tally = home.start().unwrap();
    let shown = |args: &[&str]| home.succeed(&[args, &["--url", &tally.url()]].concat()).unwrap();
    let json = |args: &[&str]| {
        let printed = home.succeed(&[args, &["--json", "--url", &tally.url()]].concat()).unwrap();
        serde_json::from_str::<serde_json::Value>(&printed).unwrap()
    };
    let event = |user: u32, kind: &str| {
        format!(
            "{{\"user_id\":{user},\"product_id\":\"p1\",\"event_type\":\"{kind}\",\"timestamp\":\"2026-01-01T00:00:30Z\"}}\n"
        )
    };
    tally
        .client
        .post_all(&[event(7, "view"), event(7, "view"), event(8, "purchase")].concat())
        .unwrap();
    let limit = std::time::Duration::from_secs(30);
    let stored = tally.client.until("all of it is stored", limit, |_| {
        let stored = json(&["state", "tables"]);
        let next = stored["metrics"][0]["partitions"][0]["next"].clone();
        if next == 3 { Ok(stored.to_string()) } else { Err(next.to_string()) }
    });
    let stored: serde_json::Value = serde_json::from_str(&stored.unwrap()).unwrap();
    let metric = stored["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["metric"] == "event_frequencies")
        .unwrap();
    assert_eq!((&metric["current"], metric["life"].as_str().unwrap().len()), (&true.into(), 32));
    let tables = shown(&["state", "tables"]);
    assert!(
        tables.contains("event_frequencies  revision ") && tables.contains("offsets  0: 3"),
        "{tables}"
    );

    let buckets = json(&["state", "buckets", "event_frequencies"]);
    let tables = buckets["metrics"][0]["tables"].as_array().unwrap();
    assert_eq!((buckets["metrics"].as_array().unwrap().len(), tables.len()), (1, 1));
    let bucket = &tables[0]["buckets"][0];
    assert_eq!(
        (&bucket["bucket"], &bucket["splits"], &bucket["updates"]),
        (&0.into(), &0.into(), &3.into())
    );

    // Rows in minutes; whatever was folded.
    let rows = json(&["state", "get", "event_frequencies", "view"]);
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1, "{rows}");
    let row = &rows["rows"][0];
    assert_eq!(
        (&row["key"], &row["pane"], &row["cells"][0]),
        (&serde_json::json!(["view"]), &"1m".into(), &"2".into())
    );
    assert_eq!(row["from"], "2026-01-01T00:00:00.000Z");
    let table = shown(&["state", "get", "user_activities", "7"]);
    assert!(table.lines().count() == 2 && table.contains("7 p1 view"), "{table}");
    assert_eq!(
        shown(&["state", "get", "user_activities", "9"]),
        "nothing is stored under this key\n"
    );
    refuse_wrong_keys(&home, &tally.url());
    tally.stop().unwrap();
}

/// What names no table, or too little of a key, is refused with the reason.
fn refuse_wrong_keys(home: &Home, url: &str) {
    for (args, says) in [
        (&["state", "get", "user_activities"][..], "name at least 1"),
        (&["state", "get", "gone", "1"], "names no table"),
        (&["state", "get", "gone/t", "1"], "gone"),
    ] {
        let output = home.run(&[args, &["--url", url]].concat()).unwrap();
        assert!(code(&output) == 1 && err(&output).contains(says), "{}", err(&output));
    }
}
