//! The shipped file, precedence, and a table of broken files.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use crate::{MetricConfig, SourceKind, StartAt, StoreKind};

const SHIPPED: &str = include_str!("../../../metrics.toml");

fn nothing(_: &str) -> Option<String> {
    None
}

fn from(text: &str) -> Result<Loaded, ConfigError> {
    merge(Some((Path::new("metrics.toml"), text)), &nothing, &[])
}

fn leaves(table: &Table, path: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let key = document::join(path, key);
        match value {
            Value::Table(inner) if !inner.is_empty() => leaves(inner, &key, found),
            _ => found.push(key),
        }
    }
}

#[test]
fn the_shipped_file_says_exactly_the_defaults_and_names_every_key() {
    let loaded = from(SHIPPED).unwrap();
    assert_eq!(loaded.config, Config::default());
    let mut keys = Vec::new();
    leaves(&document::template(), "", &mut keys);
    assert!(keys.len() > 25, "{keys:?}");
    for key in keys {
        assert!(loaded.origins.contains_key(&key), "metrics.toml does not name {key}");
    }
}

#[test]
fn the_examples_in_the_shipped_file_hold_and_name_every_key_of_a_metric_and_an_export() {
    let uncommented: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let loaded = from(&uncommented).unwrap();
    assert_eq!(loaded.config.events.aliases["purchase"], "buy");
    assert_eq!(loaded.config.metrics["top_brands"].plugin.as_deref(), Some("products_popularity"));
    for key in document::metric_template().keys() {
        assert!(
            loaded.origins.contains_key(&format!("metrics.top_brands.{key}")),
            "metrics.toml does not name metrics.NAME.{key}"
        );
    }
    for key in document::export_template().keys() {
        assert!(
            loaded.origins.contains_key(&format!("export.prometheus.shop_events.{key}")),
            "metrics.toml does not name export.prometheus.NAME.{key}"
        );
    }
}

#[test]
fn flags_come_before_environment_before_file_before_default() {
    let file = "[kafka]\ntopic = \"of_file\"\ngroup = \"of_file\"\nstart = \"latest\"\n[server]\nlisten = \"127.0.0.1:1\"\n";
    let env = |name: &str| match name {
        "KAFKA_BROKER" => Some("kafka:9092".to_owned()),
        "GROUP_ID" => Some("of_env".to_owned()),
        "TOPIC" => Some(String::new()),
        "REDIS_URL" => Some("redis://:hush@localhost".to_owned()),
        "POSTGRES_URL" => Some("postgres://u:hush@db/tally".to_owned()),
        _ => None,
    };
    let flags = [Flag { flag: "--listen", key: "server.listen", value: "127.0.0.1:2".into() }];
    let loaded = merge(Some((Path::new("metrics.toml"), file)), &env, &flags).unwrap();
    let config = &loaded.config;
    assert_eq!(config.source.kind, SourceKind::Kafka);
    assert_eq!((config.kafka.topic.as_str(), config.kafka.group.as_str()), ("of_file", "of_env"));
    assert_eq!(
        (config.kafka.start, config.server.listen.as_str()),
        (StartAt::Latest, "127.0.0.1:2")
    );
    assert_eq!(
        (config.store.kind, config.redis.url.reveal()),
        (StoreKind::Redis, "redis://:hush@localhost")
    );
    let shown = loaded.settings().into_iter().find(|setting| setting.key == "redis.url").unwrap();
    assert_eq!(shown.value, Some(toml::Value::String("redis://***@localhost".into())));
    let origin = |key: &str| {
        loaded.settings().into_iter().find(|setting| setting.key == key).unwrap().origin.to_string()
    };
    assert_eq!(origin("kafka.topic"), "metrics.toml:2:1");
    assert_eq!(origin("kafka.group"), "environment variable GROUP_ID");
    assert_eq!(origin("server.listen"), "flag --listen");
    assert_eq!(origin("source.kind"), "environment variable KAFKA_BROKER");
    assert_eq!(origin("log.partitions"), "default");
    assert_eq!(config.catalogue.postgres_url.reveal(), "postgres://u:hush@db/tally");
    assert_eq!(origin("catalogue.postgres_url"), "environment variable POSTGRES_URL");
}

#[test]
fn folders_of_the_file_are_beside_it_and_those_of_flags_are_not() {
    let flags = [Flag { flag: "--data-dir", key: "store.data_dir", value: "here".into() }];
    let loaded =
        merge(Some((Path::new("conf/metrics.toml"), "[plugins]\ndir = \"p\"\n")), &nothing, &flags)
            .unwrap();
    assert_eq!(loaded.config.plugins.dir, Path::new("conf/p"));
    assert_eq!(loaded.config.store.data_dir, Path::new("here"));
    let loaded = merge(Some((Path::new("conf/metrics.toml"), "")), &nothing, &[]).unwrap();
    assert_eq!(loaded.config.plugins.dir, Path::new("conf/plugins"));
    assert_eq!(loaded.config.server.boards, Path::new(""), "none stays none");
    let boards = "[server]\nboards = \"b\"\n";
    let loaded = merge(Some((Path::new("conf/metrics.toml"), boards)), &nothing, &[]).unwrap();
    assert_eq!(loaded.config.server.boards, Path::new("conf/b"));
    assert_eq!(merge(None, &nothing, &[]).unwrap().config, Config::default());
}

#[test]
fn the_keys_of_live_have_bounds() {
    for (key, least, most) in
        [("streams", 1, 1_000_000), ("subscriptions", 1, 1_024), ("replays", 1, 64)]
    {
        for (value, is_good) in [(least, true), (most, true), (least - 1, false), (most + 1, false)]
        {
            let loaded = from(&format!("[live]\n{key} = {value}\n"));
            assert_eq!(loaded.is_ok(), is_good, "{key} = {value}");
        }
    }
}

#[test]
fn metric_sections_are_read() {
    let file = "[metrics.a]\nenabled = false\n[metrics.a.config]\ndepth = 3\nnames = [\"x\", \"y\"]\n[metrics.a.retention]\n1m = \"2h\"\n";
    let metric = from(file).unwrap().config.metrics["a"].clone();
    assert_eq!(metric.config["depth"], Value::Integer(3));
    assert_eq!(metric.retention["1m"], "2h");
    assert_eq!(
        MetricConfig { enabled: true, config: Table::new(), retention: BTreeMap::new(), ..metric },
        MetricConfig::default()
    );
}

#[test]
fn exports_are_read_and_shown() {
    let file = "[export.prometheus.shop_events]\nmetric = \"event_frequencies\"\nrows = \"/by_type\"\n\
                params = { window = \"1h\", weights = { view = 0.5 }, ids = [1, \"a\"] }\n\
                labels = { type = \"@key\", product = \"/product_id\" }\nmax_series = 10000\nevery = \"1m\"\n";
    let loaded = from(file).unwrap();
    let export = &loaded.config.export.prometheus["shop_events"];
    assert_eq!((export.metric.as_str(), export.rows.as_str()), ("event_frequencies", "/by_type"));
    assert_eq!(export.params["weights"]["view"], Value::Float(0.5));
    assert_eq!((export.labels["type"].as_str(), export.value.as_str()), ("@key", ""));
    assert_eq!((export.max_series, export.every.as_str()), (10_000, "1m"));
    let shown = |key: &str| {
        let key = format!("export.prometheus.shop_events.{key}");
        let setting = loaded.settings().into_iter().find(|setting| setting.key == key).unwrap();
        (setting.value.unwrap(), setting.origin.to_string())
    };
    let text = |text: &str| Value::String(text.into());
    assert_eq!(shown("labels.type"), (text("@key"), "metrics.toml:5:12".into()));
    assert_eq!(shown("params.window"), (text("1h"), "metrics.toml:4:12".into()));
    assert_eq!(shown("value"), (text(""), "default".into()));
}

#[test]
fn only_so_many_exports_are_taken() {
    let sections = |count: usize| -> String {
        (0..count).map(|n| format!("[export.prometheus.x{n}]\nmetric = \"m\"\n")).collect()
    };
    assert_eq!(from(&sections(1_000)).unwrap().config.export.prometheus.len(), 1_000);
    let refused = from(&sections(1_001)).unwrap_err().to_string();
    assert!(refused.contains("has 1001 sections; at most 1000 are exported"), "{refused}");
}

#[test]
fn secrets_are_neither_shown_nor_quoted() {
    let shown = from("[kafka.settings]\n\"sasl.password\" = \"hush\"\n").unwrap();
    let setting =
        shown.settings().into_iter().find(|setting| setting.key.contains("sasl")).unwrap();
    assert_eq!(setting.value, None);
    let url = from("[catalogue]\npostgres_url = \"postgres://u:hush@h/d\"\n").unwrap();
    let setting =
        url.settings().into_iter().find(|setting| setting.key == "catalogue.postgres_url").unwrap();
    assert_eq!(setting.value, Some(Value::String("postgres://***@h/d".into())));
    assert!(!format!("{:?}", url.config).contains("hush"));
    for broken in [
        "[kafka.settings]\n\"sasl.password\" = 12345\n",
        "[kafka.settings]\n\"sasl.password\" = \"12345\n",
        "[catalogue]\npostgres_url = \"postgres://u:12345@h:x/d\"\n",
        "[catalogue]\npostgres_url = \"postgres://u:12345@h/d\n",
        "catalogue = { postgres_url = \"postgres://u:12345@h/d\", more = 1 }\n",
        "catalogue.postgres_url = [\n\"postgres://u:12345@h/d\" 1 ]\n",
        "catalogue.postgres_url = [\n\"postgres://u:12345@h/d?sslmode=disable\" 1 ]\n",
    ] {
        let text = from(broken).unwrap_err().to_string();
        assert!(!text.contains("12345"), "{text}");
    }
}

#[test]
fn all_faults_are_found_at_once_in_the_order_of_the_file() {
    let text = "[log]\npartitions = 0\nretention = \"never\"\n[kafka]\ntopik = \"x\"\nbrokers = \"nohost\"\n";
    let faults = from(text).unwrap_err().faults;
    let places: Vec<String> = faults.iter().map(|fault| fault.place.to_string()).collect();
    assert_eq!(
        places,
        ["metrics.toml:2:14", "metrics.toml:3:13", "metrics.toml:5:1", "metrics.toml:6:11"]
    );
}

#[test]
fn the_caret_stands_under_the_spot() {
    let text = from("[kafka]\n  brokerz = \"127.0.0.1:9092\"\n").unwrap_err().to_string();
    let expected = "metrics.toml:2:3: unknown key `brokerz` in [kafka]; did you mean `brokers`?\n    2 |   brokerz = ***\n      |   ^^^^^^^";
    assert_eq!(text, expected);
}

#[test]
fn a_missing_file_is_a_fault_only_when_it_was_asked_for() {
    let gone = PathBuf::from("/nonexistent/metrics.toml");
    let inputs = |file| Inputs { file, env: &nothing, flags: Vec::new() };
    assert!(load(inputs(FileChoice::IfPresent(gone.clone()))).unwrap().file.is_none());
    let fault = load(inputs(FileChoice::Given(gone))).unwrap_err().to_string();
    assert!(fault.contains("/nonexistent/metrics.toml: the file does not exist"), "{fault}");
}

#[test]
fn an_environment_variable_is_blamed_by_name() {
    let env = |name: &str| (name == "KAFKA_BROKER").then(|| "kafka".to_owned());
    let text = merge(Some((Path::new("metrics.toml"), "[kafka]\nbrokers = \"a:1\"\n")), &env, &[])
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "environment variable KAFKA_BROKER: kafka.brokers \"kafka\" is not host:port (\"127.0.0.1:9092\")"
    );
}

/// File, line, column, words of the message.
#[rustfmt::skip]
const BROKEN: &[(&str, usize, usize, &str)] = &[
    ("brokers = \"a:1\"", 1, 1, "unknown key `brokers` at the top level; did you mean `kafka.brokers`?"),
    ("[kafak]\ntopic = \"x\"", 1, 2, "did you mean `kafka`?"),
    ("[zzz]", 1, 2, "expected one of catalogue, events, export, kafka, limits, live, log, metrics, plugins, redis, server, source, store"),
    ("[kafka]\ntopik = \"x\"", 2, 1, "did you mean `topic`?"),
    ("[kafka]\nTopic = \"x\"", 2, 1, "did you mean `topic`?"),
    ("[events]\nuser_id = \"/u\"", 2, 1, "did you mean `events.fields.user_id`?"),
    ("[events.fields]\nuserid = \"/u\"", 2, 1, "unknown key `userid` in [events.fields]; did you mean `user_id`?"),
    ("[metrics.a]\nenable = true", 2, 1, "did you mean `enabled`?"),
    ("[kafka]\ntopic = 7", 2, 9, "kafka.topic must be text in quotes, not a whole number; write \"7\""),
    ("[log]\npartitions = \"4\"", 2, 14, "must be a whole number, not text; write 4 without quotes"),
    ("[log]\npartitions = 0", 2, 14, "from 1 to 1024"),
    ("[log]\npartitions = -1", 2, 14, "from 1 to 1024"),
    ("[log]\npartitions = 99999999999999999999", 2, 14, "from 1 to 1024"),
    ("[log]\npartitions = 4.0", 2, 14, "not a number with a point"),
    ("[log]\nretention_bytes = 5", 2, 19, "from 1048576"),
    ("[log]\nretention = \"30 days\"", 2, 13, "is not a duration"),
    ("[log]\nretention = \"0d\"", 2, 13, "is zero"),
    ("[log]\ndurability = \"powr\"", 2, 14, "did you mean \"power\"?"),
    ("[source]\nkind = \"redis\"", 2, 8, "must be \"embedded\" or \"kafka\""),
    ("source = \"kafka\"", 1, 10, "source must be a table, not text"),
    ("[kafka]\nallow_compacted = \"true\"", 2, 19, "write true without quotes"),
    ("[kafka]\nbrokers = \"\"", 2, 11, "is empty"),
    ("[kafka]\nbrokers = \"a:1,b\"", 2, 11, "\"b\" is not host:port"),
    ("[kafka]\nbrokers = \"http://a:1\"", 2, 11, "is not host:port"),
    ("[kafka]\ntopic = \"my topic\"", 2, 9, "is not a topic name"),
    ("[kafka]\nsession_timeout_ms = 5", 2, 22, "from 1000 to 1800000"),
    ("[kafka.settings]\n\"group.id\" = \"x\"", 2, 1, "write kafka.group"),
    ("[kafka.settings]\n\"fetch.wait.max.ms\" = 5", 2, 23, "write \"5\""),
    ("[events]\ntypes = [\"view\", \"View\"]", 2, 18, "\"View\" is not an event type"),
    ("[events]\ntypes = [\"view\", \"view\"]", 2, 18, "is listed twice"),
    ("[events]\ntypes = [1]", 2, 10, "events.types[0] must be text"),
    ("[events]\nrequired = \"user_id\"", 2, 12, "write [\"user_id\"]"),
    ("[events]\nrequired = [\"event_id\"]", 2, 13, "is not one of"),
    ("[events]\ndedupe_window = 1_000_000_000", 2, 17, "from 0 to 16777216"),
    ("[events.fields]\nuser_id = \"user_id\"", 2, 11, "is not a JSON pointer: it must start with /"),
    ("[events.fields]\nuser_id = \"/a~2\"", 2, 11, "~0"),
    ("[events.fields]\nuser_id = \"/product_id\"", 2, 11, "is already the pointer of product_id"),
    ("[events.aliases]\npurchase = \"Buy\"", 2, 12, "is not an event type"),
    ("[catalogue]\npostgres_url = \"db:5432\"", 2, 16, "is not a PostgreSQL URL; write postgres://"),
    ("[catalogue]\npostgres_url = \"postgres://u:p@h:x/d\"", 2, 16, "has an invalid port (1–65535)"),
    ("[catalogue]\nmigrate = \"false\"", 2, 11, "write false without quotes"),
    ("[plugins]\ndir = \"\"", 2, 7, "is empty"),
    ("[server]\nlisten = \"localhost:80\"", 2, 10, "write \"127.0.0.1:80\""),
    ("[server]\nlisten = \"0.0.0.0:80\"", 2, 10, "reachable from other machines"),
    ("[server]\nlisten = \":80\"", 2, 10, "write \"127.0.0.1:80\""),
    ("[live]\nquestions = 0", 2, 13, "from 1 to 1000000"),
    ("[live]\nmin_interval_ms = 9", 2, 19, "from 10 to 60000"),
    ("[live]\nthreads = 33", 2, 11, "from 1 to 32"),
    ("[export.prometheus.x]\nmetric = \"m\"\nmetrik = \"m\"", 3, 1, "unknown key `metrik` in [export.prometheus.x]; did you mean `metric`?"),
    ("[export.prometheus.x]\nvalue = \"/total\"", 1, 20, "export.prometheus.x has no `metric`"),
    ("[export.prometheus.tally_x]\nmetric = \"m\"", 1, 20, "begins with tally_"),
    ("[export.prometheus.\"a:b\"]\nmetric = \"m\"", 1, 20, "\"a:b\" cannot be the name of a series"),
    ("[export.prometheus.x]\nmetric = \"M\"", 2, 10, "export.prometheus.x.metric \"M\" is not a metric name"),
    ("[export.prometheus.x]\nmetric = \"m\"\nmax_series = 0", 3, 14, "from 1 to 10000"),
    ("[export.prometheus.x]\nmetric = \"m\"\nmax_series = 10001", 3, 14, "from 1 to 10000"),
    ("[export.prometheus.x]\nmetric = \"m\"\nevery = \"15\"", 3, 9, "is not a duration"),
    ("[export.prometheus.x]\nmetric = \"m\"\nevery = 15", 3, 9, "must be text in quotes"),
    ("[export.prometheus.x]\nmetric = \"m\"\nrows = \"a\"\nlabels = { a = \"@key\" }", 3, 8, "export.prometheus.x.rows \"a\": not a JSON pointer"),
    ("[export.prometheus.x]\nmetric = \"m\"\nlabels = { a = \"@key\" }", 3, 16, "has no key"),
    ("[export.prometheus.x]\nmetric = \"m\"\nlabels = { __a = \"/a\" }", 3, 12, "cannot be the name of a label"),
    ("[export.prometheus.x]\nmetric = \"m\"\nlabels = { a = 1 }", 3, 16, "must be text in quotes"),
    ("[export.prometheus.x]\nmetric = \"m\"\nparams = { from = 2020-01-01 }", 3, 19, "put it in quotes"),
    ("[export.prometheus]\nx = 1", 2, 5, "export.prometheus.x must be a table"),
    ("[export.grafana.x]\nmetric = \"m\"", 1, 9, "unknown key `grafana` in [export]"),
    ("[metrics.Top]\nenabled = true", 1, 10, "is not a metric name"),
    ("[metrics.a]\nplugin = \"A\"", 2, 10, "is not a metric name"),
    ("[metrics.a.retention]\n5m = \"1h\"", 2, 1, "write one of \"1m\""),
    ("[metrics.a.retention]\n1m = \"1x\"", 2, 6, "is not a duration"),
    ("[metrics.a.config]\nsince = 2020-01-01", 2, 9, "put it in quotes"),
    ("[metrics.a.config]\nx = inf", 2, 5, "must be finite"),
    ("[metrics]\na = 1", 2, 5, "metrics.a must be a table"),
    ("[kafka]\ntopic = \"a\"\ntopic = \"b\"", 3, 1, "duplicate key"),
    ("[kafka]\n[kafka]", 2, 2, "duplicate key"),
    ("[kafka\ntopic = \"a\"", 1, 7, ""),
    ("[kafka]\ntopic = ", 2, 9, ""),
    ("[kafka]\ntopic = \"a", 2, 11, "invalid basic string"),
    ("[kafka]\ntopic = events", 2, 9, ""),
    ("# ü\n[kafka]\n\"tüpic\" = 1 # é", 3, 1, "unknown key `tüpic`"),
    ("{\"kafka\": 1}", 1, 1, ""),
];

#[test]
fn broken_files_are_refused_at_the_right_spot() {
    assert!(BROKEN.len() >= 30);
    let mut wrong = Vec::new();
    for (text, line, column, words) in BROKEN {
        match from(text) {
            Ok(_) => wrong.push(format!("{text:?} was accepted")),
            Err(error) => {
                let told = error.to_string();
                if !told.starts_with(&format!("metrics.toml:{line}:{column}: "))
                    || !told.contains(words)
                {
                    wrong.push(format!("{text:?} at {line}:{column} with {words:?} gave\n{told}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_cut_or_spoiled_shipped_file_never_panics() {
    for end in (0..SHIPPED.len()).filter(|end| SHIPPED.is_char_boundary(*end)) {
        let _ = from(&SHIPPED[..end]);
    }
    for (at, _) in SHIPPED.char_indices().step_by(7) {
        for spoil in ["\"", "[", "ü", "\0", "="] {
            let text = format!("{}{spoil}{}", &SHIPPED[..at], &SHIPPED[at..]);
            let _ = from(&text).map_err(|error| error.to_string());
        }
    }
}
