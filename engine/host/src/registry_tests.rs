//! Folders with files that are refused. What needs a built plugin is tested from outside.
#![allow(clippy::unwrap_used)] // a test that cannot make its files has failed

use super::super::load::fits;
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tally_plugin::abi::{GENERATION, Handshake, HandshakeText};
use tally_plugin::prelude::{DAYS, HOURS, MINUTES, ONE, days, hours, sum, table};

fn reasons(loaded: &Found) -> Vec<&str> {
    loaded.rejected.iter().map(|rejected| rejected.reason.as_str()).collect()
}

#[test]
fn what_is_no_plugin_is_listed_in_the_configured_folder_only() {
    let home = tempfile::tempdir().unwrap();
    let dir = |name: &str| {
        let dir = home.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("empty.so"), b"").unwrap();
        fs::write(dir.join("notes.txt"), b"hello").unwrap();
        fs::write(dir.join("script.so"), b"#!/bin/sh\n").unwrap();
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        fs::write(dir.join("cut.so"), &program[..program.len() / 2]).unwrap();
        fs::write(dir.join("other.so"), &program).unwrap();
        fs::write(dir.join("world.so"), b"").unwrap();
        fs::set_permissions(dir.join("world.so"), fs::Permissions::from_mode(0o666)).unwrap();
        dir
    };
    let private = home.path().join("private");
    let loaded = Registry::new(&[dir("plugins"), dir("bin")], &private, &PluginsConfig::default())
        .scan(&BTreeMap::new());
    assert!(loaded.metrics.is_empty());
    let reasons = reasons(&loaded);
    let expected = [
        "cut off",
        "empty.so is empty",
        "not a Tally plugin",
        "script.so is not a shared object",
        "everybody",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, part) in reasons.iter().zip(expected) {
        assert!(reason.contains(part), "{part:?} is not in {reason:?}");
        assert!(reason.ends_with(')') && reason.contains(" ("), "no cure in {reason:?}");
    }
    assert!(!private.exists(), "nothing was copied, so nothing was loaded");
}

#[test]
fn a_section_without_its_plugin_is_listed_and_a_missing_folder_is_not() {
    let home = tempfile::tempdir().unwrap();
    let off = MetricConfig { enabled: false, ..MetricConfig::default() };
    let sections =
        BTreeMap::from([("top".to_string(), MetricConfig::default()), ("off".to_string(), off)]);
    let loaded =
        Registry::new(&[home.path().join("absent")], home.path(), &PluginsConfig::default())
            .scan(&sections);
    assert_eq!(loaded.rejected.len(), 1);
    assert_eq!(loaded.rejected[0].file, PathBuf::from("[metrics.top]"));
    assert!(loaded.rejected[0].reason.contains("was not found"));
}

#[test]
fn a_section_is_judged_without_a_scan() {
    let home = tempfile::tempdir().unwrap();
    let folders = [home.path().join("absent")];
    let registry = Registry::new(&folders, home.path(), &PluginsConfig::default())
        .without(vec!["off".to_string()]);
    let judge = |section: MetricConfig| registry.judge("top", &section).map(drop).unwrap_err();
    let named = MetricConfig { plugin: Some("counts".to_string()), ..MetricConfig::default() };
    for (section, key) in [(named, "plugin"), (MetricConfig::default(), "")] {
        let faults = judge(section);
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, key));
        assert!(faults[0].reason.contains("put its file into the plugin folder"), "{faults:?}");
    }
    assert!(registry.is_disabled("off") && !registry.is_disabled("top"));
    assert!(registry.without_section("top").is_none());
}

#[test]
fn another_interface_target_or_panic_strategy_is_refused() {
    let own = || {
        let text = |field: &[u8]| String::from_utf8_lossy(field).trim_end_matches('\0').to_string();
        let own = Handshake::own();
        HandshakeText {
            generation: GENERATION,
            target: text(&own.target),
            panic: "unwind".into(),
            sdk: text(&own.sdk),
            rustc: text(&own.rustc),
        }
    };
    assert_eq!(fits(&own()), Ok(()));
    assert!(
        fits(&HandshakeText { generation: 2, ..own() })
            .unwrap_err()
            .to_string()
            .contains("update the engine")
    );
    assert!(
        fits(&HandshakeText { generation: 0, ..own() })
            .unwrap_err()
            .to_string()
            .contains("rebuild")
    );
    assert!(
        fits(&HandshakeText { target: "riscv64".into(), ..own() })
            .unwrap_err()
            .to_string()
            .contains("riscv64")
    );
    assert!(fits(&HandshakeText { target: String::new(), ..own() }).is_err());
    assert!(
        fits(&HandshakeText { panic: "abort".into(), ..own() })
            .unwrap_err()
            .to_string()
            .contains("unwind")
    );
}

#[test]
fn retention_is_replaced_per_tier() {
    let tiers = [MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()];
    let describe = || Description::new("x").table(table("t").cell("n", sum(ONE)).tiers(tiers));
    let change = |pairs: &[(&str, &str)]| {
        let mut description = describe();
        let retention =
            pairs.iter().map(|(pane, keep)| (pane.to_string(), keep.to_string())).collect();
        (retain(&mut description, &retention).join("; "), description)
    };
    let (faults, changed) = change(&[("1m", "2h"), ("1h", "2w")]);
    assert_eq!(faults, "");
    let kept: Vec<_> = changed.tables[0].tiers.iter().map(|tier| tier.keep_ms).collect();
    assert_eq!(kept, [Some(hours(2)), Some(days(14)), None]);
    assert!(change(&[("1w", "2h")]).0.contains("no table has a tier"));
    assert!(change(&[("1m", "all")]).0.contains("or longer"));
    for wrong in ["", "h", "2", "0h", "-1h", "+1h", "1y", "9223372036854775807w", "２h"] {
        assert!(change(&[("1m", wrong)]).0.contains("retention.1m "), "{wrong:?}");
    }
}
