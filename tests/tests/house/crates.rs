//! Which crate may depend on what, and that no crate is built twice without a reason.

use super::none;
use super::reading::{names, read, root, sources, words};
use std::collections::BTreeSet;
use std::process::Command;
use toml::{Table, Value};

fn manifest(path: &str) -> Table {
    read(path).parse().unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// What a crate's code depends on, without what only its tests use.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = manifest(&format!("{folder}/Cargo.toml"));
    assert!(
        !manifest.contains_key("target"),
        "{folder}: dependencies by target are not looked at here"
    );
    let of = |section: &str| {
        manifest.get(section).and_then(Value::as_table).into_iter().flat_map(Table::keys)
    };
    of("dependencies").chain(of("build-dependencies")).cloned().collect()
}

fn within(folder: &str, allowed: &[&str]) -> Vec<String> {
    let other = dependencies(folder).into_iter().filter(|name| !allowed.contains(&name.as_str()));
    other.map(|name| format!("{folder} depends on {name}")).collect()
}

fn without(folder: &str, refused: &[&str]) -> Vec<String> {
    let mut faults: Vec<String> = dependencies(folder)
        .into_iter()
        .filter(|name| refused.contains(&name.as_str()))
        .map(|name| format!("{folder} depends on {name}"))
        .collect();
    for file in sources().iter().filter(|file| file.is_in(&format!("{folder}/src/"))) {
        for word in
            words(&file.code).filter(|word| refused.contains(&word.replace('_', "-").as_str()))
        {
            faults.push(format!("{} names {word}", file.path));
        }
    }
    faults.dedup();
    faults
}

/// The folders of the crates of this workspace below a folder, itself among them.
fn members(top: &str) -> Vec<String> {
    let root = manifest("Cargo.toml");
    let members = root["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member.as_str().unwrap());
    members.filter(|member| member.split('/').next() == Some(top)).map(str::to_owned).collect()
}

#[test]
fn plugins_depend_on_the_contract_alone() {
    let mut faults = within(
        "plugin-api",
        &["abi_stable", "schemars", "serde", "serde_json", "tally-plugin-macros"],
    );
    faults.extend(within("plugin-api/sketch", &["siphasher", "tally-plugin"]));
    faults.extend(within(
        "plugin-api/testkit",
        &["jiff", "serde_json", "tally-plugin", "tally-sketch"],
    ));
    faults.extend(within("plugin-api/macros", &[]));
    for plugin in names("plugins") {
        let folder = format!("plugins/{plugin}");
        faults.extend(within(&folder, &["tally-plugin", "schemars", "serde"]));
        let manifest = manifest(&format!("{folder}/Cargo.toml"));
        let name = manifest["package"]["name"].as_str().unwrap_or_default();
        let metric = format!("about!(\"{plugin}\"");
        if name != plugin || !read(&format!("{folder}/src/lib.rs")).contains(&metric) {
            faults.push(format!("{folder}: folder, crate and metric have different names"));
        }
    }
    none(faults);
}

#[test]
fn the_engine_knows_no_http_and_no_sql() {
    let http = ["hyper", "hyper-util", "axum", "tower", "tokio-tungstenite"];
    let sql = ["rusqlite", "refinery-core", "tokio-postgres", "deadpool-postgres"];
    let refused = [&http[..], &sql[..]].concat();
    none(members("engine").iter().flat_map(|folder| without(folder, &refused)).collect());
}

#[test]
fn the_server_knows_no_log_and_no_store() {
    none(without(
        "server",
        &["rdkafka", "rdkafka-sys", "redis", "fjall", "redb", "abi-stable", "libloading"],
    ));
}

/// An audit by the code that it audits would find nothing. What its tests compare it with is out of
/// its own reach.
#[test]
fn the_audit_shares_no_code_with_what_it_audits() {
    none(within("engine/verify", &["base64", "jiff", "serde", "serde_json", "siphasher"]));
}

/// What has been counted depends on events, sketches and descriptions, not on where events come
/// from or state is stored.
#[test]
fn state_knows_no_log_and_no_store() {
    let own = ["tally-event", "tally-plugin", "tally-sketch"];
    let libraries = ["crc32fast", "foldhash", "hashbrown", "parking_lot", "siphasher", "thiserror"];
    none(within("engine/state", &[&own[..], &libraries[..]].concat()));
}

/// Foreign code is loaded and called without a log, a store or what has been counted.
#[test]
fn the_host_of_plugins_knows_no_log_no_store_and_no_state() {
    let own = ["tally-config", "tally-event", "tally-plugin", "tally-schema", "tally-system"];
    let code = ["abi_stable", "libc", "object", "rustix", "sha2"];
    let libraries = ["serde", "serde_json", "strsim", "thiserror", "tracing"];
    none(within("engine/host", &[&own[..], &code[..], &libraries[..]].concat()));
}

/// Where events come from depends on no event's meaning, and on nothing that counts or stores.
#[test]
fn the_log_knows_no_decode_no_state_and_no_store() {
    let own = ["tally-config", "tally-database", "tally-event", "tally-progress", "tally-system"];
    let libraries = ["crc32fast", "parking_lot", "rdkafka", "rdkafka-sys", "thiserror", "tracing"];
    none(within("engine/log", &[&own[..], &libraries[..]].concat()));
}

/// What only tests use is behind a feature that no crate that is shipped asks for.
#[test]
fn what_is_for_tests_is_not_shipped() {
    let for_tests = ["contract", "oracle", "test-plugin"];
    let named = |value: &Value| {
        for_tests.into_iter().find(|feature| value.to_string().contains(&format!("\"{feature}\"")))
    };
    let plugins = names("plugins").into_iter().map(|name| format!("plugins/{name}"));
    let mut faults = Vec::new();
    for folder in ["engine", "plugin-api", "server"].into_iter().flat_map(members).chain(plugins) {
        let manifest = manifest(&format!("{folder}/Cargo.toml"));
        let dependencies = manifest.get("dependencies").and_then(named);
        let default =
            manifest.get("features").and_then(|features| features.get("default")).and_then(named);
        faults.extend(
            dependencies.map(|feature| format!("{folder}: a dependency asks for {feature}")),
        );
        faults.extend(
            default.map(|feature| format!("{folder}: {feature} is on unless it is turned off")),
        );
    }
    let all = &manifest("Cargo.toml")["workspace"]["dependencies"];
    faults.extend(named(all).map(|feature| format!("Cargo.toml: a dependency asks for {feature}")));
    none(faults);
}

/// A number that does not fit ends the work on it, in every crate of the engine: it never becomes
/// another one.
#[test]
fn numbers_do_not_wrap_in_silence() {
    let root = manifest("Cargo.toml");
    let packages = &root["profile"]["release"]["package"];
    let mut faults = Vec::new();
    for member in members("engine") {
        let name = manifest(&format!("{member}/Cargo.toml"))["package"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        let checks = packages.get(&name).and_then(|package| package.get("overflow-checks"));
        if checks.and_then(Value::as_bool) != Some(true) {
            faults.push(format!(
                "{name}: [profile.release.package.{name}] has no overflow-checks = true"
            ));
        }
    }
    none(faults);
}

/// At a moment at which a test may end the process nothing that is shipped does anything, and every
/// one is tried.
#[test]
fn fail_points_are_tried_and_not_shipped() {
    let sources = sources();
    let sets = |file: &&super::Source| {
        let may = file.is_in("tests/") || file.is_in("engine/failpoint/");
        !may && words(&file.code).any(|word| word == "set_fail_points")
    };
    let sets = sources.iter().filter(sets);
    let mut faults: Vec<String> =
        sets.map(|file| format!("{}: only tests set fail points", file.path)).collect();
    let shipped = std::fs::read(tally_tests::tally::binary().unwrap()).unwrap();
    if shipped.windows(15).any(|bytes| bytes == b"TALLY_FAILPOINT") {
        faults.push("the binary does something at fail points".into());
    }
    let engine = sources.iter().filter(|file| file.is_in("engine/") && !file.is_test());
    let named = |file: &super::Source| {
        let places = file.text.split("point(\"").skip(1).filter_map(|rest| rest.split_once('"'));
        places.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let there: BTreeSet<String> = engine.flat_map(named).collect();
    let tried: BTreeSet<String> =
        tally_tests::points::POINTS.iter().map(|point| point.name.to_owned()).collect();
    faults.extend(
        there
            .symmetric_difference(&tried)
            .map(|name| format!("{name} is not both there and tried")),
    );
    none(faults);
}

#[test]
fn nothing_is_depended_on_in_vain() {
    let folders = ["plugin-api", "engine", "server"].into_iter().flat_map(members);
    // What derives write into the code, unseen.
    let unseen = ["schemars", "serde"];
    let sources = sources();
    let mut faults = Vec::new();
    for folder in folders.chain(names("plugins").into_iter().map(|name| format!("plugins/{name}")))
    {
        let used: BTreeSet<&str> = sources
            .iter()
            .filter(|file| {
                file.is_in(&format!("{folder}/src/")) || file.is_in(&format!("{folder}/tests/"))
            })
            .flat_map(|file| words(&file.code))
            .collect();
        let tests = manifest(&format!("{folder}/Cargo.toml"));
        let tests = tests
            .get("dev-dependencies")
            .and_then(Value::as_table)
            .into_iter()
            .flat_map(Table::keys);
        let all = dependencies(&folder);
        let vain = |name: &&String| {
            !used.contains(&*name.replace('-', "_")) && !unseen.contains(&name.as_str())
        };
        for name in all.iter().chain(tests).filter(vain) {
            faults.push(format!("{folder} depends on {name} and does not use it"));
        }
    }
    none(faults);
}

/// What `cargo tree` says of the crates that something is built of, each on a line of its own.
fn tree(args: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg("tree").args(args).args(["--prefix", "none", "--locked", "--offline"]);
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// A feature that only a test asks for has everything above it built again, and tests are then of
/// another program than the one that is shipped.
#[test]
fn tests_are_of_what_is_shipped_and_have_nothing_built_again() {
    let built = |of: &[&str], edges: &str| {
        tree(&[of, &["--no-dedupe", "--format", "{p} [{f}]", "--edges", edges][..]].concat())
    };
    let whole = ["--workspace", "--exclude", "tally-benches"];
    let shipped = built(&[], "normal,build");
    let (all, tested) = (built(&whole, "normal,build"), built(&whole, "normal,build,dev"));
    assert!(shipped.len() > 100, "only {} crates were found", shipped.len());
    let again = all.difference(&tested).map(|line| format!("tests have it built again: {line}"));
    // Our own crates hold the suites of contracts as well.
    let other = shipped.difference(&all).filter(|line| !line.contains(" (/"));
    let other = other.map(|line| format!("shipped, and another is tested: {line}"));
    none(again.chain(other).collect());
}

/// `name@version` of every crate that is shipped in more than one version; what only tests use is
/// left out, as in deny.toml.
fn built_twice() -> BTreeSet<String> {
    let all = tree(&[
        "--workspace",
        "--duplicates",
        "--depth",
        "0",
        "--edges",
        "normal,build",
        "--format",
        "{p}",
    ]);
    let packages: BTreeSet<(&str, &str)> = all
        .iter()
        .filter_map(|line| {
            let (name, rest) = line.split_once(" v")?;
            Some((name, rest.split(' ').next()?))
        })
        .collect();
    // It also lists what is built once for the build and once for the target: one version, no
    // duplicate.
    let twice = packages
        .iter()
        .filter(|(name, _)| packages.iter().filter(|(other, _)| other == name).count() > 1);
    twice.map(|(name, version)| format!("{name}@{version}")).collect()
}

#[test]
fn what_is_built_twice_has_a_reason() {
    let deny: Table = manifest("deny.toml");
    assert_eq!(deny["bans"]["multiple-versions"].as_str(), Some("deny"));
    let skipped = deny["bans"]["skip"].as_array().unwrap();
    let mut faults = Vec::new();
    let mut named = BTreeSet::new();
    for entry in skipped {
        let name = entry["crate"].as_str().unwrap_or_default();
        if entry.get("reason").and_then(Value::as_str).is_none_or(str::is_empty) {
            faults.push(format!("deny.toml skips {name} without a reason"));
        }
        named.insert(name.to_owned());
    }
    let twice = built_twice();
    // A version may be given in part: `syn@1` is `syn@1.0.109`.
    let is = |entry: &str, name: &str| name == entry || name.starts_with(&format!("{entry}."));
    for entry in named.iter().filter(|entry| !twice.iter().any(|name| is(entry, name))) {
        faults.push(format!("deny.toml skips {entry}, which is not built twice"));
    }
    // One version of each is the one to keep; the skipped ones are those to get rid of.
    let kept = twice.iter().filter(|name| !named.iter().any(|entry| is(entry, name)));
    let mut rest: Vec<&str> = kept.filter_map(|name| name.split('@').next()).collect();
    rest.sort_unstable();
    for pair in rest.windows(2).filter(|pair| pair[0] == pair[1]) {
        faults.push(format!(
            "{} is built in several versions: skip all but one in deny.toml, with a reason",
            pair[0]
        ));
    }
    none(faults);
}
