//! `metrics.toml` and what comes in its place, as a user meets it: one judge for `config check` and
//! a start, no secret in any message, nothing that hangs, sections that are refused with their
//! line.
//!
//! Over 480 lines: one list of bad values for every key that there is, which is only worth
//! something in one place.

mod effects;
mod sections;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tally_engine::config::{Config, MetricConfig, PrometheusExport};
use tally_tests::disk::Disk;
use tally_tests::folder::{self, drop_in, until_state};
use tally_tests::tally::{Home, binary};

/// How long a command may take that ends by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a command that must end by itself; one that does not is ended, and the test fails.
fn ending(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::null());
    let out = fs::File::create(folder.join("out")).unwrap();
    let err = fs::File::create(folder.join("err")).unwrap();
    let mut child = command.stdout(out).stderr(err).spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!(
                "tally {args:?} has not ended: {}",
                fs::read_to_string(folder.join("err")).unwrap()
            );
        }
        // There is no wait with an end in the standard library.
        std::thread::sleep(Duration::from_millis(5));
    };
    Output {
        status,
        stdout: fs::read(folder.join("out")).unwrap(),
        stderr: fs::read(folder.join("err")).unwrap(),
    }
}

fn texts(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The keys that there are, without those that a user names.
fn keys() -> BTreeSet<String> {
    fn leaves(table: &toml::Table, path: &str, found: &mut BTreeSet<String>) {
        for (key, value) in table {
            let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                toml::Value::Table(inner) if !inner.is_empty() => leaves(inner, &key, found),
                _ => drop(found.insert(key)),
            }
        }
    }
    let mut found = BTreeSet::new();
    leaves(&toml::Table::try_from(Config::default()).unwrap(), "", &mut found);
    let metric = MetricConfig { plugin: Some(String::new()), ..MetricConfig::default() };
    leaves(&toml::Table::try_from(metric).unwrap(), "metrics.x", &mut found);
    found.remove("metrics");
    let export = toml::Table::try_from(PrometheusExport::default()).unwrap();
    leaves(&export, "export.prometheus.x", &mut found);
    found.remove("export.prometheus");
    found
}

/// Key, and values that it must not hold. Of a table that the user fills: whole entries.
#[rustfmt::skip]
const BAD: &[(&str, &[&str])] = &[
    ("source.kind", &["\"redis\"", "7", "\"Kafka\""]),
    ("source.on_gap", &["\"go\"", "true"]),
    ("source.on_state_loss", &["\"go\"", "1"]),
    ("kafka.brokers", &["\"\"", "\"nohost\"", "\"http://a:1\"", "\"a:1,b\"", "\"a:99999\"", "\"u:p@a:1\"", "7"]),
    ("kafka.topic", &["\"\"", "\"a b\"", "\"..\"", "7"]),
    ("kafka.group", &["\"\"", "\"a\\u0000b\"", "7"]),
    ("kafka.instance_id", &["\"a b\"", "7"]),
    ("kafka.start", &["\"newest\"", "0"]),
    ("kafka.session_timeout_ms", &["5", "-1", "\"6s\"", "99999999999"]),
    ("kafka.allow_compacted", &["\"true\"", "1"]),
    ("kafka.settings", &[
        "\"no.such\" = \"1\"", "\"ssl.ca.location\" = \"/nowhere/ca.pem\"", "\"group.id\" = \"x\"", "\"acks\" = \"1\"",
        "\"request.required.acks\" = \"1\"", "\"fetch.wait.max.ms\" = \"soon\"", "\"fetch.wait.max.ms\" = \"-7\"",
        "\"fetch.wait.max.ms\" = 5", "\"security.protocol\" = \"carrier-pigeon\"", "\"group.protocol\" = \"eager\"",
        "\"max.poll.interval.ms\" = \"1000\"", "\"isolation.level\" = \"read_uncommitted\"",
    ]),
    ("log.partitions", &["0", "1025", "\"4\"", "4.0"]),
    ("log.retention_bytes", &["5", "-1", "\"1G\""]),
    ("log.retention", &["\"soon\"", "\"0d\"", "\"30\"", "\"1.5h\"", "\"1y\"", "\"-1h\"", "\"+1h\"", "\"9999999999d\"", "30"]),
    ("log.durability", &["\"none\"", "false"]),
    ("events.aliases", &["purchase = \"Buy\"", "purchase = 7", "\"\" = \"buy\""]),
    ("events.types", &["[\"View\"]", "[1]", "\"view\"", "[\"a\", \"a\"]"]),
    ("events.required", &["[\"price\"]", "\"user_id\"", "[\"user_id\", \"user_id\"]"]),
    ("events.max_types", &["-1", "\"many\"", "999999999999999"]),
    ("events.keep", &["[\"View\"]", "[1]", "\"view\"", "[\"a\", \"a\"]"]),
    ("events.earliest", &["\"never\"", "\"\"", "\"1990\"", "\"2200-01-01\"", "0", "1990-01-01"]),
    ("events.max_ahead", &["\"soon\"", "\"0m\"", "\"all\"", "5"]),
    ("events.dedupe_window", &["-1", "1_000_000_000", "\"all\""]),
    ("events.fields.event_id", &["\"event_id\"", "\"/\"", "7"]),
    ("events.fields.user_id", &["\"\"", "\"/a~2\"", "\"/product_id\"", "7"]),
    ("events.fields.product_id", &["\"x\"", "7"]),
    ("events.fields.event_type", &["\"x\"", "7"]),
    ("events.fields.timestamp", &["\"x\"", "7"]),
    ("plugins.dir", &["\"\"", "7"]),
    ("plugins.shipped", &["\"counts\"", "[7]"]),
    ("plugins.checksums", &["\"on\"", "true"]),
    ("store.kind", &["\"kafka\"", "7"]),
    ("store.data_dir", &["\"\"", "7"]),
    ("store.checkpoint_interval_ms", &["0", "\"1s\"", "9999999"]),
    ("store.dead_letters", &["-1", "\"all\"", "999999999999"]),
    ("redis.url", &["\"http://h\"", "\"redis://h/abc\"", "\"redis://h:port\"", "\"\"", "\"redis://\"", "\"u:p@h:port\"", "7"]),
    ("redis.port", &["65536", "-1", "\"6379\""]),
    ("redis.namespace", &["\"\"", "\"a b\"", "\"a{b\"", "7"]),
    ("redis.commit_interval_ms", &["0", "99999999", "\"50ms\""]),
    ("redis.max_bucket_bytes", &["5", "999999999999", "\"1M\""]),
    ("catalogue.postgres_url", &[
        "\"h:5432\"", "\"mysql://h/d\"", "\"postgres://\"", "\"postgres://u:p@h:x/d\"", "\"postgres://u:p@h/d?sslmode=sometimes\"",
        "\"postgres://u:p@h/d?no_such=1\"", "\"postgres://u:p@h/d?sslrootcert=/x\"", "\"postgres://u:p@h/d?password=x\"",
        "\"postgres://u:p@h/d?sslmode=verify-full&sslrootcert=/nowhere.pem\"", "7",
    ]),
    ("catalogue.migrate", &["\"yes\"", "0"]),
    ("server.listen", &["\"localhost:80\"", "\"0.0.0.0:80\"", "\"80\"", "\"\"", "8080"]),
    ("server.max_connections", &["0", "\"many\"", "9999999"]),
    ("server.evaluation_deadline_ms", &["0", "\"1s\"", "9999999"]),
    ("server.allowed_hosts", &["[\"http://h\"]", "\"h\"", "[7]"]),
    ("server.allowed_origins", &["[\"shop.example\"]", "\"https://h\"", "[7]"]),
    ("server.boards", &["7", "[\"boards\"]"]),
    ("live.streams", &["0", "-1", "\"many\""]),
    ("live.subscriptions", &["0", "1025", "\"many\""]),
    ("live.replays", &["0", "65", "\"many\""]),
    ("limits.memory", &["1", "-1", "\"1G\""]),
    ("limits.answer_bytes", &["1", "-1", "\"16M\"", "99999999999"]),
    ("live.questions", &["0", "\"many\"", "1000001"]),
    ("live.min_interval_ms", &["9", "\"50ms\"", "60001"]),
    ("live.threads", &["0", "33", "\"two\""]),
    ("export.prometheus.x.metric", &["\"M\"", "7"]),
    ("export.prometheus.x.params", &["from = 2020-01-01", "x = inf", "x = 99999999999999999999"]),
    ("export.prometheus.x.rows", &["\"a\"", "\"/~2\"", "7"]),
    ("export.prometheus.x.value", &["\"a\"", "\"/~2\"", "7"]),
    ("export.prometheus.x.labels", &["a = \"x\"", "a = \"@key\"", "__a = \"/a\"", "\"a-b\" = \"/a\"", "a = 7"]),
    ("export.prometheus.x.max_series", &["0", "10001", "\"all\""]),
    ("export.prometheus.x.every", &["\"15\"", "\"0s\"", "\"2d\"", "15"]),
    ("metrics.x.enabled", &["\"no\"", "0"]),
    ("metrics.x.plugin", &["\"Counts\"", "\"\"", "7"]),
    ("metrics.x.config", &["since = 2020-01-01", "x = inf", "x = 99999999999999999999"]),
    ("metrics.x.history", &["\"some\"", "\"0d\"", "\"30\"", "7"]),
    ("metrics.x.promote", &["\"never\"", "true"]),
    ("metrics.x.keep_old", &["\"all\"", "\"soon\"", "\"0h\"", "7"]),
    ("metrics.x.retention", &["1m = \"soon\"", "5m = \"1h\"", "1m = 7"]),
    ("metrics.x.max_cells", &["0", "-1", "\"many\""]),
    ("metrics.x.overflow", &["\"drop\"", "1"]),
];

/// Tables whose entries the user names.
const FREE: [&str; 6] = [
    "kafka.settings",
    "events.aliases",
    "metrics.x.config",
    "metrics.x.retention",
    "export.prometheus.x.params",
    "export.prometheus.x.labels",
];

fn file(key: &str, value: &str) -> String {
    let (table, name) = key.rsplit_once('.').unwrap();
    // What an export cannot be without.
    let more = match (table, name) {
        ("export.prometheus.x", "params" | "labels") => "[export.prometheus.x]\nmetric = \"m\"\n",
        ("export.prometheus.x", "metric") => "",
        ("export.prometheus.x", _) => "metric = \"m\"\nlabels = { a = \"/a\" }\n",
        _ => "",
    };
    if FREE.contains(&key) {
        format!("[{key}]\n{value}\n{more}")
    } else {
        format!("[{table}]\n{name} = {value}\n{more}")
    }
}

#[test]
fn every_key_has_bad_values_that_check_show_and_a_start_refuse_with_the_same_words() {
    let named: BTreeSet<String> = BAD.iter().map(|(key, _)| (*key).to_owned()).collect();
    let missing: Vec<_> = keys().difference(&named).cloned().collect();
    assert!(missing.is_empty(), "give bad values for {missing:?} in this file");
    let gone: Vec<_> = named.difference(&keys()).cloned().collect();
    assert!(gone.is_empty(), "there are no keys {gone:?}");
    let mut wrong = Vec::new();
    for (key, values) in BAD {
        for value in *values {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("metrics.toml"), file(key, value)).unwrap();
            // A flag comes before the file.
            let run: &[&str] = if *key == "server.listen" {
                &["run"]
            } else {
                &["run", "--listen", "127.0.0.1:0"]
            };
            let commands: [&[&str]; 3] = [&["config", "check"], &["config", "show"], run];
            let told = commands.map(|command| ending(folder.path(), command, &[]));
            let [check, show, start] = &told;
            let words = String::from_utf8_lossy(&check.stderr).into_owned();
            if !told
                .iter()
                .all(|output| output.status.code() == Some(78) && output.stdout.is_empty())
                || show.stderr != check.stderr
                || start.stderr != check.stderr
                || !(words.starts_with("error: metrics.toml:2:")
                    || words.starts_with("error: metrics.toml:1:") && FREE.contains(key))
            {
                let codes: Vec<_> = told.iter().map(|output| output.status.code()).collect();
                wrong.push(format!("{key} = {value}: {codes:?}\n{words}{}", texts(start)));
            }
            assert!(!folder.path().join(".tally").exists(), "{key} = {value}: a start has begun");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_the_environment_says_is_judged_likewise() {
    let folder = tempfile::tempdir().unwrap();
    for (name, values) in [
        ("KAFKA_BROKER", &["nohost", "u:hushhush@h:1", "http://h:1"][..]),
        ("TOPIC", &["a b"]),
        ("GROUP_ID", &["a\u{7}b"]),
        (
            "POSTGRES_URL",
            &[
                "h:5432",
                "postgres://u:hushhush@h:x/d",
                "postgres://u:hushhush@h/d?sslmode=sometimes",
            ],
        ),
        (
            "REDIS_URL",
            &["http://h", "redis://h/abc", "user:hushhush@h:port", "redis://:hushhush@h:port"],
        ),
        ("REDIS_PORT", &["0", "65536", "hushhush:6379"]),
    ] {
        for value in values {
            for command in [
                &["config", "check"][..],
                &["config", "show"],
                &["run", "--listen", "127.0.0.1:0"],
                &["produce", "--count", "1"],
            ] {
                let output = ending(folder.path(), command, &[(name, value)]);
                let text = texts(&output);
                assert_eq!(output.status.code(), Some(78), "{name}={value} {command:?}: {text}");
                assert!(
                    text.starts_with(&format!("error: environment variable {name}: ")),
                    "{name}={value}: {text}"
                );
                assert!(!text.contains("hushhush") || *name == *"REDIS_PORT", "{text}");
            }
        }
    }
}

#[test]
fn variables_that_a_platform_writes_are_left_out_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("users.csv"), "user_id,user_name,email\n1,Ann,a@example.org\n")
        .unwrap();
    let url = format!(
        "http://{}",
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    );
    for name in ["KAFKA_BROKER", "TOPIC", "GROUP_ID", "POSTGRES_URL", "REDIS_URL", "REDIS_PORT"] {
        let env = [(name, "tcp://10.96.12.7:6379")];
        let commands: [(&[&str], i32); 4] = [
            (&["config", "check"], 0),
            (&["config", "show", "--json"], 0),
            (&["import", "users", "users.csv"], 0),
            (&["produce", "--count", "1", "--url", &url], 1), // nobody is there
        ];
        for (command, code) in commands {
            let output = ending(folder.path(), command, &env);
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{name} {command:?}: {err}");
            let told =
                err.lines().filter(|line| line.contains(name) && line.contains("is ignored"));
            assert_eq!(told.count(), 1, "{name} {command:?}: {err}");
            assert!(
                !String::from_utf8_lossy(&output.stdout).contains("10.96.12.7"),
                "{name} {command:?}"
            );
        }
        let mut home = Home::new("").unwrap();
        home.env(name, "tcp://10.96.12.7:6379");
        let tally = home.start().unwrap();
        assert!(tally.process.tail().contains(name), "{name}: {}", tally.process.tail());
        tally.stop().unwrap();
    }
}

/// Files that hold the password `hushhush` where it does not belong.
#[rustfmt::skip]
const LEAKS: &[&str] = &[
    "[kafka.settings]\n\"sasl.password\" =\n\"hushhush\"\n",
    "[kafka.settings]\n\"sasl.password\" =\nhushhush==\n",
    "[kafka.settings]\n\"sasl.password\" = hushhush\n",
    "[kafka.settings]\n\"sasl.password\" = \"hushhush\n",
    "[kafka.settings]\n\"sasl.password\" = 1\nhushhush\n",
    "[kafka.settings]\nsasl.password = \"hushhush\"\n",
    "[kafka.settings]\n\"sasl.oauthbearer.config\" = \"hushhush\"\nx = \"y\"\n",
    "[kafka.settings]\n\"sasl.pasword\" = \"hushhush\"\n",
    "[kafka.settings]\n\"no.such\" = \"hushhush\"\n",
    "[kafka.settings]\n\"fetch.wait.max.ms\" = \"hushhush\"\n",
    "[kafka.settings]\n\"security.protocol\" = \"hushhush\"\n",
    "[redis]\nurl2 = \"user:hushhush\"\n",
    "[redis]\nurl = [\"redis://:hushhush@h\"]\n",
    "[redis]\nurl = \"user:hushhush@h:port\"\n",
    "[redis]\nurl = \"redis://:hushhush\"\n",
    "[redis]\nurl = 'hushhush\n",
    "[redis]\nurl = \"\"\"\nredis://:hushhush@h\n",
    "redis_url = \"redis://:hushhush@h\"\n",
    "redis = { url = \"redis://:hushhush@h\", prot = 1 }\n",
    "redis = \"redis://:hushhush@h\"\n",
    "[catalogue]\npostgres_url = \"postgres://u:hushhush@h:x/d\"\n",
    "[catalogue]\npostgres_url = \"postgres://u:hushhush@h/d?sslmode=hushhush\"\n",
    "[catalogue]\npostgres_url = postgres://u:hushhush@h/d\n",
    "[catalogue]\npassword = \"hushhush\"\n",
    "[kafka]\nbrokers = \"user:hushhush@h:9092\"\n",
    "[kafka]\ntopic = \"user:hushhush@h\"\n",
    "[server]\nlisten = \"user:hushhush@127.0.0.1:1\"\n",
    "[log]\nretention = \"user:hushhush@h\"\n",
    "[source]\nkind = \"user:hushhush@h\"\n",
    "# password = hushhush\n[kafka]\ntopic = = # hushhush\n",
    "\"user:hushhush@h\" = 1\n",
    "[metrics.x.config]\napi_key = hushhush\n",
    "[events.aliases]\npurchase = \"user:hushhush@h\"\n",
    "[kafka]\ntopic = 7 # the password is hushhush\n",
    "[kafka]\nsettings = { \"sasl.password\" = \"hushhush\", topic = 7 }\n",
];

#[test]
fn a_password_at_a_wrong_place_is_in_no_message_and_in_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    for text in LEAKS {
        fs::write(folder.path().join("metrics.toml"), text).unwrap();
        for command in [
            &["config", "check"][..],
            &["config", "show"],
            &["config", "show", "--json"],
            &["run", "--listen", "127.0.0.1:0"],
        ] {
            // A flag comes before the file.
            let command = if command[0] == "run" && text.contains("listen") {
                &command[..1]
            } else {
                command
            };
            let output = ending(folder.path(), command, &[]);
            assert_eq!(output.status.code(), Some(78), "{text:?} {command:?}: {}", texts(&output));
            assert!(
                !texts(&output).contains("hushhush"),
                "{text:?} {command:?}: {}",
                texts(&output)
            );
        }
    }
    // What is taken over while an engine runs is told over HTTP.
    let home = Home::new("").unwrap();
    let tally = home.start().unwrap();
    // An engine knows nothing of PostgreSQL.
    for text in LEAKS.iter().filter(|text| !text.contains("sslmode")) {
        home.write("metrics.toml", text).unwrap();
        tally.process.signal("HUP").unwrap();
        let told = tally.client.until("the fault is told", LIMIT, |client| {
            let text = client.get("/api/metrics").map_err(|fault| format!("{fault:#}"))?.text;
            if text.contains("is not applied") { Ok(text) } else { Err(text) }
        });
        assert!(!told.unwrap().contains("hushhush"), "{text:?}");
    }
    assert!(!tally.process.tail().contains("hushhush"), "{}", tally.process.tail());
    tally.stop().unwrap();
}

#[test]
fn what_works_is_shown_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[kafka.settings]\n\"sasl.password\" = \"hushhush\"\n\"sasl.username\" = \"hushhush\"\n\"client.rack\" = \"r1\"\n\
                [metrics.event_frequencies.config]\n";
    fs::write(folder.path().join("metrics.toml"), file).unwrap();
    for url in [
        "user:hushhush@127.0.0.1:6379",
        ":hushhush@127.0.0.1",
        "redis://:hushhush@127.0.0.1",
        "redis://hushhush@127.0.0.1",
        "rediss://user:hushhush@127.0.0.1:1/3",
        "redis://:hushhush@a:1,redis://:hushhush@b:2",
    ] {
        for command in
            [&["config", "show"][..], &["config", "show", "--json"], &["config", "check"]]
        {
            let env = [("REDIS_URL", url), ("POSTGRES_URL", "postgres://hushhush:hushhush@h/d")];
            let output = ending(folder.path(), command, &env);
            assert_eq!(output.status.code(), Some(0), "{url} {command:?}: {}", texts(&output));
            assert!(!texts(&output).contains("hushhush"), "{url} {command:?}: {}", texts(&output));
        }
    }
    let output = ending(
        folder.path(),
        &["config", "show"],
        &[("REDIS_URL", "user:hushhush@127.0.0.1:6379")],
    );
    assert!(texts(&output).contains("redis.url = \"***@127.0.0.1:6379\""), "{}", texts(&output));
    assert!(
        texts(&output).contains("kafka.settings.\"client.rack\" = \"r1\""),
        "{}",
        texts(&output)
    );
}

#[test]
fn a_file_with_very_many_faults_is_refused_in_time_with_the_first_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let many = |line: fn(usize) -> String, before: &str| {
        let mut text = before.to_owned();
        let mut n = 0;
        while text.len() < 1_000_000 && n < 80_000 {
            text += &line(n);
            n += 1;
        }
        text
    };
    let shapes = [
        many(|n| format!("k{n:05} = 1\n"), ""),
        many(|n| format!("k{n:05} = 1\n"), "[kafka]\n"),
        many(|n| format!("[metrics.M{n:05}]\n"), ""),
        many(|n| format!("[metrics.m{n:05}]\n"), ""),
        many(|n| format!("\"K{n:05}\",\n"), "[events]\ntypes = [\n") + "]\n",
        many(|_| "\"a\",\n".to_owned(), "[events]\ntypes = [\n") + "]\n",
        many(|n| format!("k{n:05} = \"X\"\n"), "[events.aliases]\n"),
        many(|n| format!("\"k{n:05}\" = \"1\"\n"), "[kafka.settings]\n"),
        many(|n| format!("k{n:05} = \n"), ""),
        many(|_| "\"\n".to_owned(), ""),
        format!("{} = 1\n", vec!["a"; 400_000].join(".")),
        format!("[metrics.x.config]\n{} = 1\n", vec!["a"; 40_000].join(".")),
        format!("[metrics.x.config]\na = {}{}\n", "[".repeat(40_000), "]".repeat(40_000)),
        format!("{} = 1\n", "x".repeat(900_000)),
    ];
    for (n, text) in shapes.iter().enumerate() {
        fs::write(folder.path().join("metrics.toml"), text).unwrap();
        let begun = Instant::now();
        let output = ending(folder.path(), &["config", "check"], &[]);
        let told = texts(&output);
        assert_eq!(output.status.code(), Some(78), "shape {n}: {}", &told[..told.len().min(2_000)]);
        // Far above what it takes on a busy machine, far below what a quadratic cost would be.
        assert!(begun.elapsed() < Duration::from_secs(20), "shape {n} took {:?}", begun.elapsed());
        let faults = told.lines().filter(|line| line.starts_with("error: metrics.toml")).count();
        assert!(
            (1..=100).contains(&faults) && told.len() < 100_000,
            "shape {n}: {faults} faults, {} bytes",
            told.len()
        );
        assert!(
            faults < 100 || told.contains("more faults"),
            "shape {n}: {}",
            &told[told.len() - 500..]
        );
    }
}

#[test]
fn a_file_that_is_none_holds_nothing_up() {
    let (home, plugins) = folder::home();
    let tally = home.listening().unwrap();
    let toml = home.path().join("metrics.toml");
    let fifo = |path: &Path| {
        let _ = fs::remove_file(path);
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for command in
        [&["config", "check"][..], &["config", "show"], &["run", "--listen", "127.0.0.1:0"]]
    {
        let folder = tempfile::tempdir().unwrap();
        fifo(&folder.path().join("metrics.toml"));
        let output = ending(folder.path(), command, &[]);
        assert_eq!(output.status.code(), Some(78), "{}", texts(&output));
        assert!(
            texts(&output).contains("metrics.toml: is not a regular file"),
            "{}",
            texts(&output)
        );
    }
    for command in [
        &["import", "users", "pipe.csv"][..],
        &["produce", "--from", "pipe.csv"],
        &["plugin", "check", "pipe.csv"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        fifo(&folder.path().join("pipe.csv"));
        let output = ending(folder.path(), command, &[]);
        assert!(
            texts(&output).contains("is not a regular file"),
            "{command:?}: {}",
            texts(&output)
        );
    }
    // Under a running engine: the file, a plugin, the list of plugins. What comes afterwards is
    // still seen.
    fifo(&toml);
    fifo(&plugins.join("pipe.so"));
    fifo(&plugins.join("SHA256SUMS"));
    std::os::unix::fs::symlink("/dev/zero", plugins.join("zero.so")).unwrap();
    tally.process.signal("HUP").unwrap();
    drop_in(&plugins, "event_frequencies");
    until_state(&tally.client, "event_frequencies", "active");
    let listing = tally.client.get("/api/metrics").unwrap().text;
    assert!(listing.contains("is not a regular file"), "{listing}");
    let ended = tally.process.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(ended.code, Some(0));
}

#[test]
fn a_folder_full_of_other_files_keeps_no_plugin_from_its_turn() {
    let (home, plugins) = folder::home();
    for n in 0..1_500 {
        // Sparse: says that it is large and takes nothing.
        fs::File::create(plugins.join(format!("a{n:05}.so"))).unwrap().set_len(200 << 20).unwrap();
    }
    let tally = home.listening().unwrap();
    for n in 0..8_500 {
        fs::write(plugins.join(format!("b{n:05}.so")), "no plugin").unwrap();
    }
    // Its name comes first, so that it is among those that are looked at.
    drop_in(&plugins, "event_frequencies");
    fs::rename(plugins.join("event_frequencies.so"), plugins.join("A.so")).unwrap();
    until_state(&tally.client, "event_frequencies", "active");
    // More that come before it by name do not push out what is served.
    for n in 0..1_000 {
        fs::write(plugins.join(format!("0{n:05}.so")), "no plugin").unwrap();
    }
    tally.process.signal("HUP").unwrap();
    tally
        .client
        .until("what is left out is told", LIMIT, |client| {
            let text = client.get("/api/metrics").map_err(|fault| format!("{fault:#}"))?.text;
            if text.contains("are not looked at") && text.contains("000000.so") {
                Ok(text)
            } else {
                Err(text)
            }
        })
        .unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    assert!(listing["rejected"].as_array().unwrap().len() <= 110, "{}", listing["rejected"]);
    until_state(&tally.client, "event_frequencies", "active");
    let ended = tally.process.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(ended.code, Some(0));
}

#[test]
fn foreign_text_does_nothing_to_a_terminal() {
    let (home, plugins) = folder::home();
    let name = "x\u{1b}]0;owned\u{7}\u{9b}31m\ny\u{202e}.so";
    fs::write(plugins.join(name), "no plugin").unwrap();
    let harmless = |text: &str| {
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'),
            "{text:?}"
        );
    };
    let tally = home.listening().unwrap();
    let listing = tally.client.until("it is refused", LIMIT, |client| {
        let text = client.get("/api/metrics").map_err(|fault| format!("{fault:#}"))?.text;
        if text.contains("owned") { Ok(text) } else { Err(text) }
    });
    listing.unwrap();
    harmless(&tally.process.tail());
    assert!(tally.process.tail().contains("owned"), "{}", tally.process.tail());
    let output = home.run(&["plugin", "check", &format!("plugins/{name}")]).unwrap();
    assert!(texts(&output).contains("owned"), "{}", texts(&output));
    harmless(&texts(&output));
    tally.process.stop(Duration::from_secs(20)).unwrap();
    for file in [
        "\"a\\u001b[31m\\u202e\" = 1\n",
        "[kafka]\ntopic = \"a\\u001b[31m\\u009b\"\n",
        "[kafka]\ntopic = \"a\u{9b}31m\u{202e}\"\n",
    ] {
        home.write("metrics.toml", file).unwrap();
        let output = home.run(&["config", "check"]).unwrap();
        assert_eq!(output.status.code(), Some(78), "{}", texts(&output));
        harmless(&texts(&output));
    }
    home.write("metrics.toml", "[metrics.event_frequencies]\nhistory = \"all\"\n").unwrap();
    fs::copy(home.path().join("metrics.toml"), home.path().join("m\u{1b}[31m.toml")).unwrap();
    harmless(&texts(&home.run(&["config", "show", "-c", "m\u{1b}[31m.toml"]).unwrap()));
}

#[test]
fn a_data_directory_that_allows_no_execution_is_named() {
    let home = Home::new("[store]\ndata_dir = \"disk/data\"\n").unwrap();
    let _disk = Disk::mount(home.path().join("disk"), "size=400m,noexec").unwrap();
    let tally = home.listening().unwrap();
    let told = tally.client.get("/readyz?verbose").unwrap().text;
    assert!(told.contains("noexec") && told.contains("plugin-copies"), "{told}");
    assert!(
        told.contains("failed to map segment") && !told.contains("build it on this system"),
        "{told}"
    );
    // An answer names no paths of the server; the log does.
    let log = tally.process.tail();
    assert!(!told.contains("disk/data") && log.contains("disk/data/plugin-copies"), "{told}{log}");
    let ended = tally.process.stop(Duration::from_secs(20)).unwrap();
    assert_eq!(ended.code, Some(0));
}
