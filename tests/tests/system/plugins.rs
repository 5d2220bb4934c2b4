//! The gate for plugin files, on real files and a real engine: what is no good is refused with a
//! sentence and harms nothing.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tally_tests::day;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, binary, plugin};

const CONFIG: &str = r#"
[plugins]
dir = "plugins"
[server]
evaluation_deadline_ms = 10000
"#;

/// First bytes of a handshake, as the contract for plugins fixes them.
const MAGIC: &[u8; 16] = b"tally-plugin\0\0\0\x01";

/// A home with a folder of plugins: the shipped ones that are named.
fn home(config: &str, plugins: &[&str]) -> (Home, PathBuf) {
    let home = Home::new(&format!("{CONFIG}{config}")).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    for name in plugins {
        fs::copy(plugin(name).unwrap(), folder.join(format!("{name}.so"))).unwrap();
    }
    (home, folder)
}

fn names(listing: &Value) -> Vec<&str> {
    listing["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["name"].as_str().unwrap())
        .collect()
}

/// Reason by file name.
fn reason(listing: &Value, file: &str) -> String {
    let of = |rejected: &Value| {
        Path::new(rejected["file"].as_str().unwrap()).file_name().unwrap().to_owned()
    };
    let mut found =
        listing["rejected"].as_array().unwrap().iter().filter(|rejected| of(rejected) == file);
    let reason =
        found.next().unwrap_or_else(|| panic!("{file} is not refused: {}", listing["rejected"]));
    assert!(found.next().is_none(), "{file} is refused twice");
    reason["reason"].as_str().unwrap().to_owned()
}

/// Every place of the handshake in a plugin.
fn handshakes(bytes: &[u8]) -> Vec<usize> {
    let found: Vec<usize> = bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| window == MAGIC)
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "no handshake");
    found
}

/// A shared object that every process has: the C library.
fn foreign() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    files
        .map(PathBuf::from)
        .find(|file| file.to_string_lossy().contains("libc.so"))
        .expect("a C library is mapped")
}

/// Writes bad files of every kind into a folder.
fn write_bad_files(folder: &Path) {
    let good = fs::read(plugin("user_activities").unwrap()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    };
    let patched = |change: fn(&mut [u8])| {
        let mut bytes = good.clone();
        handshakes(&good).into_iter().for_each(|at| change(&mut bytes[at..at + 360]));
        bytes
    };
    write("script.so", b"#!/bin/sh\n");
    write("empty.so", b"");
    for percent in [1, 25, 50, 70, 99] {
        write(&format!("cut{percent}.so"), &good[..good.len() * percent / 100]);
    }
    write("everybody.so", &good);
    fs::set_permissions(folder.join("everybody.so"), fs::Permissions::from_mode(0o666)).unwrap();
    write("same.so", &fs::read(folder.join("event_frequencies.so")).unwrap());
    write("twin.so", &[fs::read(folder.join("event_frequencies.so")).unwrap(), vec![0]].concat());
    write("foreign.so", &fs::read(foreign()).unwrap());
    write("magic.so", &patched(|shake| shake[0] ^= 1));
    write("newer.so", &patched(|shake| shake[20..24].copy_from_slice(&2_u32.to_le_bytes())));
    write("older.so", &patched(|shake| shake[20..24].copy_from_slice(&0_u32.to_le_bytes())));
    write("target.so", &patched(|shake| shake[24] ^= 1));
    write("aborts.so", &patched(|shake| shake[88..96].copy_from_slice(b"abort\0\0\0")));
    symlink(plugin("user_activities").unwrap(), folder.join("link.so")).unwrap();
    fs::create_dir(folder.join("folder.so")).unwrap();
    write("notes.txt", b"not looked at");
}

#[test]
fn bad_files_are_refused_with_a_sentence_and_good_ones_answer() {
    let (home, folder) = home("", &["event_frequencies", "products_popularity"]);
    write_bad_files(&folder);
    let expected = [
        ("script.so", "(build the plugin as a cdylib and copy the .so file)"),
        ("empty.so", "is empty (copy it again)"),
        ("cut1.so", "(copy it again)"),
        ("cut25.so", "(copy it again)"),
        ("cut50.so", "(copy it again)"),
        ("cut70.so", "(copy it again)"),
        ("cut99.so", "(copy it again)"),
        ("everybody.so", "(chmod o-w it)"),
        ("same.so", "(remove one of them)"),
        ("twin.so", "(remove one of them)"),
        ("foreign.so", "not a Tally plugin: it has no export_metric! (add it"),
        ("magic.so", "not a Tally plugin: it has no export_metric! (add it"),
        ("newer.so", "(update the engine)"),
        ("older.so", "(rebuild the plugin with a current tally-plugin)"),
        ("target.so", "(rebuild it with --target"),
        ("aborts.so", "(build it with panic = \"unwind\")"),
        ("link.so", "(copy the file itself)"),
        ("folder.so", "is not a regular file (move it away"),
    ];
    let tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    for (file, words) in expected {
        let reason = reason(&listing, file);
        assert!(reason.starts_with(file) && reason.contains(words), "{file}: {reason}");
        assert!(!reason.contains('\n') && reason.len() < 300, "{file}: one sentence: {reason}");
    }
    assert_eq!(
        listing["rejected"].as_array().unwrap().len(),
        expected.len(),
        "{}",
        listing["rejected"]
    );
    // the third is beside the binary
    assert_eq!(names(&listing), ["event_frequencies", "products_popularity", "user_activities"]);

    let printed = home.succeed(&["plugin", "list", "--url", &tally.url()]).unwrap();
    for (file, words) in expected {
        let line = printed
            .lines()
            .find(|line| line.starts_with("refused") && line.contains(&format!(" {file}:")));
        assert!(line.is_some_and(|line| line.contains(words)), "{file}: {printed}");
    }

    let position = tally.client.post_all(&day::lines(&day::events())).unwrap();
    let total = |metric: &str, params: Value| {
        tally.client.ask(metric, &params, &position).unwrap()["total"].clone()
    };
    assert_eq!(total("event_frequencies", json!({})), 11);
    assert_eq!(total("products_popularity", json!({})), 11);
    assert_eq!(total("user_activities", json!({"user_id": 1})), 5);
    let figure = tally.client.figure("tally_plugins_rejected", "").unwrap();
    assert_eq!(figure as usize, expected.len());
    tally.stop().unwrap();
}

#[test]
fn one_file_serves_several_metrics_and_sections_are_obeyed() {
    let sections = r#"
[metrics.top_weighted]
plugin = "products_popularity"
config = { weights = { view = 1, add_to_cart = 3, buy = 7 } }
[metrics.user_activities]
enabled = false
[metrics.event_frequencies]
retention = { 1m = "3h", 1h = "30d" }
[metrics.ghost]
plugin = "products_popularty"
[metrics.misread]
plugin = "products_popularity"
config = { weight = {} }
"#;
    let (home, _) =
        home(sections, &["event_frequencies", "products_popularity", "user_activities"]);
    let tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    assert_eq!(names(&listing), ["event_frequencies", "products_popularity", "top_weighted"]);
    let rejected: Vec<&str> = listing["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["reason"].as_str().unwrap())
        .collect();
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    let says = |words: &[&str]| {
        rejected.iter().any(|reason| words.iter().all(|word| reason.contains(word)))
    };
    assert!(
        says(&["[metrics.ghost]", "products_popularty", "did you mean products_popularity?"]),
        "{rejected:?}"
    );
    assert!(
        says(&["metric misread", "weight", "(fix [metrics.misread] in the configuration)"]),
        "{rejected:?}"
    );

    let described = tally.client.get("/api/metrics/top_weighted").unwrap().json();
    assert_eq!(described["plugin"], "products_popularity");
    assert_eq!(described["config"], json!({"weights": {"add_to_cart": 3, "buy": 7, "view": 1}}));
    let described = tally.client.get("/api/metrics/event_frequencies").unwrap().json();
    let tiers = json!([{"pane": "1m", "keep": "3h"}, {"pane": "1h", "keep": "30d"}, {"pane": "1d", "keep": "all"}]);
    assert_eq!(described["tiers"], tiers);

    let position = tally.client.post_all(&day::lines(&day::events())).unwrap();
    let first = |metric| tally.client.ask(metric, &json!({"limit": 1}), &position).unwrap();
    let product = json!({"rank": 1, "product_id": 10, "interactions": 5, "score": 13,
        "by_type": {"add_to_cart": 1, "buy": 1, "view": 3}, "share": 0.454545});
    assert_eq!(
        first("top_weighted"),
        json!({"total": 11, "products_total": 3, "products": [product]})
    );
    assert_eq!(first("products_popularity")["products"][0]["score"], 5);
    let disabled = tally
        .client
        .evaluate(&json!({"name": "user_activities", "params": {"user_id": 1}}))
        .unwrap();
    assert_eq!((disabled.status, &disabled.json()["code"]), (404, &json!("metric_not_found")));
    let near = tally.client.evaluate(&json!({"name": "top_weigthed"})).unwrap().json();
    assert_eq!(near["suggestions"][0], "top_weighted");
    tally.stop().unwrap();
}

#[test]
fn without_a_folder_the_plugins_beside_the_binary_are_found_and_other_files_there_are_not_mentioned()
 {
    let mut home = Home::new("").unwrap();
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::copy(binary().unwrap(), bin.join("tally")).unwrap();
    fs::copy(plugin("event_frequencies").unwrap(), bin.join("libevent_frequencies.so")).unwrap();
    fs::copy(foreign(), bin.join("libforeign.so")).unwrap();
    fs::write(bin.join("libnothing.so"), b"").unwrap();
    home.use_binary(bin.join("tally"));
    let tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    assert_eq!((names(&listing), &listing["rejected"]), (vec!["event_frequencies"], &json!([])));
    tally.stop().unwrap();

    fs::remove_file(bin.join("libevent_frequencies.so")).unwrap();
    let tally = home.listening().unwrap();
    let limit = std::time::Duration::from_secs(30);
    let text =
        tally.client.readyz("no plugin is told", limit, |answer| answer.status == 503).unwrap();
    assert!(
        text.contains(
            "[-]plugins failed: no metric is loaded: put plugin files into the plugin folder"
        ),
        "{text}"
    );
    tally.stop().unwrap();
}

/// Where the data directory is the one that the plugin folder is looked for in, what Tally keeps
/// there is not taken for plugins.
#[test]
fn private_copies_are_no_plugins() {
    let home = Home::new("[store]\ndata_dir = \".\"\n").unwrap();
    for _ in 0..2 {
        let tally = home.start().unwrap();
        let listing = tally.client.get("/api/metrics").unwrap().json();
        assert_eq!(
            names(&listing),
            ["event_frequencies", "products_popularity", "user_activities"]
        );
        tally.stop().unwrap();
    }
}

/// The other plugins beside the binary are served where a section names them, with answers that
/// were worked out by hand.
#[test]
fn other_shipped_plugins_answer_where_a_section_names_them() {
    let sections =
        "[metrics.revenue]\n[metrics.unique_visitors]\n[metrics.shop]\nplugin = \"conversion\"\n";
    let home = Home::new(&format!("{CONFIG}{sections}")).unwrap();
    let tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    let served = [
        "event_frequencies",
        "products_popularity",
        "revenue",
        "shop",
        "unique_visitors",
        "user_activities",
    ];
    assert_eq!((names(&listing), &listing["rejected"]), (served.to_vec(), &json!([])));
    let event = |user: u64, product: u64, kind: &str, price: Value| {
        json!({"user_id": user, "product_id": product, "event_type": kind, "price": price})
            .to_string()
            + "\n"
    };
    let none = || Value::Null;
    let lines = [
        event(1, 10, "view", none()),
        event(1, 10, "view", none()),
        event(2, 10, "view", none()),
        event(3, 20, "view", none()),
        event(1, 10, "add_to_cart", none()),
        event(1, 10, "buy", json!("0.10")),
        event(1, 10, "buy", json!(0.2)),
        event(4, 20, "buy", none()),
    ];
    let position = tally.client.post_all(&lines.concat()).unwrap();
    let ask = |name: &str, params: Value| tally.client.ask(name, &params, &position).unwrap();
    let revenue = ask("revenue", json!({"limit": 1}));
    assert_eq!((&revenue["purchases"], revenue["revenue"].as_f64()), (&json!(3), Some(0.3)));
    assert_eq!(revenue["average"].as_f64(), Some(0.15), "of those that have a price");
    let first = &revenue["products"][0];
    assert_eq!(
        (&first["product_id"], first["revenue"].as_f64(), first["average"].as_f64()),
        (&json!(10), Some(0.3), Some(0.15))
    );
    let visitors = ask("unique_visitors", json!({}));
    let products = json!([{"product_id": 10, "users": 2}, {"product_id": 20, "users": 2}]);
    assert_eq!((&visitors["users"], &visitors["products"]), (&json!(4), &products));
    let bought = ask("unique_visitors", json!({"event_types": ["buy"], "limit": 0}));
    assert_eq!(bought["users"], 2);
    let stages = ask("shop", json!({"limit": 0}))["stages"].take();
    let users: Vec<&Value> =
        stages.as_array().unwrap().iter().map(|stage| &stage["users"]).collect();
    assert_eq!(users, [&json!(3), &json!(1), &json!(2)]);
    assert_eq!(
        (stages[2]["of_previous"].as_f64(), stages[2]["of_first"].as_f64()),
        (Some(2.0), Some(0.666_667))
    );
    tally.stop().unwrap();
}

#[test]
fn counts_is_a_metric_without_code() {
    let (home, _) = home(COUNTS, &["counts"]);
    let answered = sales_are_counted(&home);
    let redis = Redis::start(&[]).unwrap();
    let (mut home, _) = self::home(COUNTS, &["counts"]);
    home.env("REDIS_URL", &redis.at());
    assert_eq!(sales_are_counted(&home), answered, "in Redis as in the embedded store");
}

const COUNTS: &str = r#"
[metrics.sales_by_brand]
plugin = "counts"
config.by = ["/product/brand"]
config.only = ["buy"]
config.cells = { sales = "count", revenue = { sum = "/price" }, buyers = { distinct = "user_id" }, price = { quantiles = "/price" } }
"#;

/// A metric in a few lines of configuration: properties of records, sets, exact sums, histograms,
/// and what is kept over a restart.
fn sales_are_counted(home: &Home) -> Value {
    let mut tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    assert!(
        names(&listing).contains(&"sales_by_brand") && !names(&listing).contains(&"counts"),
        "{listing}"
    );
    assert_eq!(listing["rejected"], json!([]));
    let described = tally.client.get("/api/metrics/sales_by_brand").unwrap().json();
    assert_eq!(described["reads"], json!(["user_id", "event_type", "/product/brand", "/price"]));

    let lines: String = (0..3_000)
        .map(|n| {
            let (brand, price) =
                (["acme", "bolt", "cord"][n % 3], if n % 10 == 0 { json!(null) } else { json!("0.10") });
            let kind = if n % 2 == 0 { "buy" } else { "view" };
            let event = json!({"event_id": format!("e{n}"), "user_id": n % 700, "product_id": 1, "event_type": kind,
                "price": price, "product": {"brand": brand}, "timestamp": "2026-01-01T00:00:00Z"});
            format!("{event}\n")
        })
        .collect();
    let position = tally.client.post_all(&lines).unwrap();
    let params = json!({"only": {"brand": ["bolt"]}});
    let before = tally.client.ask("sales_by_brand", &params, &position).unwrap();
    let values = &before["groups"][0]["values"];
    let bought = |n: &usize| n % 6 == 4;
    let users: std::collections::BTreeSet<usize> =
        (0..3_000).filter(bought).map(|n| n % 700).collect();
    let priced = (0..3_000).filter(bought).filter(|n| n % 10 != 0).count();
    assert_eq!(before["groups"][0]["key"], json!({"brand": "bolt"}));
    assert_eq!((&values["sales"], &values["buyers"]), (&json!(500), &json!(users.len())));
    assert_eq!(
        values["revenue"].as_f64(),
        Some(priced as f64 / 10.0),
        "exact, whatever adding floats would make of it"
    );
    assert!((values["price"]["p50"].as_f64().unwrap() - 0.1).abs() < 0.001);
    tally.stop().unwrap();
    tally = home.start().unwrap();
    assert_eq!(
        tally.client.ask("sales_by_brand", &params, &position).unwrap(),
        before,
        "after a restart"
    );
    tally.stop().unwrap();
    before
}
