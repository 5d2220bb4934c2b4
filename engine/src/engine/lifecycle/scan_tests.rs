//! What is done by hand to the files of sections while an engine runs, or begins to.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use crate::config::{Config, PluginsConfig, StoreConfig};
use crate::file_draft::beside;
use std::fs;

struct Rig {
    config: Config,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreConfig { data_dir: folder.path().to_owned(), ..StoreConfig::default() };
        let config = Config { store, ..Config::default() };
        Rig { config, file: folder.path().join(SECTIONS_FILE), _folder: folder }
    }

    fn sections(&self) -> MetricSections {
        MetricSections::open(&self.config).unwrap()
    }

    /// Of an engine without plugins.
    fn scan(&self, sections: MetricSections) -> ChangeScan {
        let private = self.config.store.data_dir.clone();
        let registry = Registry::new(&[], &private, &PluginsConfig::default());
        ChangeScan::new((registry, Arc::default()), (sections, Arc::default()), None, private)
    }

    fn write(&self, names: &[&str]) -> String {
        let section = |name: &&str| format!("[metrics.{name}]\nenabled = false\n");
        let text: String = names.iter().map(section).collect();
        fs::write(&self.file, &text).unwrap();
        text
    }
}

/// A section that no plugin judges.
fn off() -> Table {
    Table::from_iter([("enabled".to_owned(), toml::Value::Boolean(false))])
}

fn put(scan: &mut ChangeScan, name: &str) -> Result<SectionChange, SectionError> {
    scan.put_section(name, off(), |_| Ok(()))
}

fn names(scan: &ChangeScan) -> Vec<&str> {
    scan.sections.own().given().keys().map(String::as_str).collect()
}

fn why_not<T>(refused: Result<T, SectionError>) -> String {
    match refused.err().unwrap() {
        SectionError::Order(OrderError::NotPossible(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_while_a_section_is_judged_stays() {
    let rig = Rig::new();
    let mut scan = rig.scan(rig.sections());
    put(&mut scan, "a").unwrap();
    let judged = scan.sections.own().with("b", off()).unwrap();
    let text = rig.write(&["a", "by_hand"]);
    let why = why_not(scan.write_own(judged));
    assert!(why.contains("changed by hand meanwhile"), "{why}");
    assert_eq!(fs::read_to_string(&rig.file).unwrap(), text);
    assert!(!beside(&rig.file).exists() && names(&scan) == ["a"]);
    // The next request has read it, and so has one that takes away.
    put(&mut scan, "b").unwrap();
    assert_eq!(names(&scan), ["a", "b", "by_hand"]);
    let without = scan.sections.own().without("a").unwrap();
    fs::remove_file(&rig.file).unwrap();
    assert!(why_not(scan.write_own(without)).contains("changed by hand"));
    assert!(!rig.file.exists());
}

#[test]
fn what_is_written_while_an_engine_starts_is_read() {
    let rig = Rig::new();
    rig.write(&["a"]);
    let sections = rig.sections();
    rig.write(&["a", "by_hand"]);
    let mut scan = rig.scan(sections);
    put(&mut scan, "b").unwrap();
    assert_eq!(names(&scan), ["a", "b", "by_hand"]);
}

#[test]
fn a_damaged_file_is_a_fault_until_it_is_moved_away() {
    let rig = Rig::new();
    let mut scan = rig.scan(rig.sections());
    put(&mut scan, "a").unwrap();
    fs::write(&rig.file, "[metrics.a]\nenabled = 7\n").unwrap();
    assert!(why_not(put(&mut scan, "b")).contains("is not applied"));
    assert_eq!(scan.faults().count(), 1);
    fs::rename(&rig.file, rig.config.store.data_dir.join("damaged")).unwrap();
    put(&mut scan, "b").unwrap();
    assert_eq!((names(&scan), scan.faults().count()), (vec!["a", "b"], 0));
    assert_eq!(rig.sections().own().given().len(), 2, "both are stored");
}

#[test]
fn what_kept_a_file_from_being_applied_need_not_be_in_it() {
    let rig = Rig::new();
    let path = rig.config.store.data_dir.join("metrics.toml");
    let many = |count: usize| -> String {
        (0..count).map(|n| format!("[metrics.m{n}]\nenabled = false\n")).collect()
    };
    fs::write(&path, many(0)).unwrap();
    let stamp = crate::files::FileStamp::of(&path).unwrap();
    let private = rig.config.store.data_dir.clone();
    let registry = Registry::new(&[], &private, &PluginsConfig::default());
    let file = Some(ConfigFile { path: path.clone(), stamp });
    let own = (rig.sections(), Arc::default());
    let mut scan = ChangeScan::new((registry, Arc::default()), own, file, private);
    fs::write(&path, many(1_000)).unwrap();
    scan.read_configuration(false);
    rig.write(&["other"]);
    scan.read_configuration(false);
    let told: Vec<&str> = scan.faults().map(|fault| fault.reason.as_str()).collect();
    assert!(told.len() == 1 && told[0].contains("at most 1000 are served"), "{told:?}");
    fs::write(&path, many(999)).unwrap();
    scan.read_configuration(false);
    assert_eq!((names(&scan), scan.faults().count()), (vec!["other"], 0));
}
