//! What is added can be read again, is judged as `metrics.toml` is, and its faults are found.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use crate::Overflow;

fn file(text: &str) -> Result<Sections, ConfigError> {
    Sections::of("data/sections.toml".into(), text)
}

fn table(text: &str) -> Table {
    text.parse().unwrap()
}

const SALES: &str = "plugin = \"counts\"\nhistory = \"30d\"\nmax_cells = 7\noverflow = \"other\"\n\
                     [config]\nby = [\"/brand\"]\n[config.cells]\nn = \"count\"\n\
                     \"a.b \\\"c\\\"\" = { sum = \"/x\" }\n[[config.odd]]\nn = 1.5\n";

#[test]
fn what_is_added_is_read_again_as_it_was_given_and_can_be_taken_away() {
    let none = file("").unwrap();
    assert!(none.given().is_empty() && none.text().lines().all(|line| !line.contains('[')));
    let one = none.with("sales", table(SALES)).unwrap();
    let two = one.with("bare", Table::new()).unwrap();
    let read = file(&two.text()).unwrap();
    assert_eq!((read.given(), read.metrics()), (two.given(), two.metrics()));
    assert_eq!(read.given()["sales"], table(SALES));
    let section = &read.metrics()["sales"];
    assert_eq!((section.max_cells, section.overflow), (7, Overflow::Other));
    assert_eq!(read.metrics()["bare"], MetricConfig::default());
    let other = two.with("bare", table("history = \"none\"")).unwrap();
    assert_eq!((other.given().len(), &*other.metrics()["bare"].history), (2, "none"));
    let left = other.without("bare").unwrap();
    assert_eq!((left.given(), left.text()), (one.given(), one.text()));
    assert_eq!(left.without("sales").unwrap().text(), none.text());
}

#[test]
fn every_fault_of_a_section_is_told_with_the_place_in_it() {
    let none = file("").unwrap();
    let faults = |name: &str, text: &str| {
        let faults = none.with(name, table(text)).unwrap_err();
        faults.into_iter().map(|fault| (fault.pointer, fault.detail)).collect::<Vec<_>>()
    };
    let text = "histroy = \"all\"\npromote = \"soon\"\nmax_cells = \"many\"\nkeep_old = \"7\"\n\
                [retention]\n1w = \"2h\"\n1h = \"x\"\n[config]\nat = 2026-01-01\n";
    let found = faults("x", text);
    let mut pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    pointers.sort_unstable();
    let expected = [
        "/config/at",
        "/histroy",
        "/keep_old",
        "/max_cells",
        "/promote",
        "/retention/1h",
        "/retention/1w",
    ];
    assert_eq!(pointers, expected, "{found:?}");
    assert!(found.iter().any(|(_, told)| told.contains("did you mean `history`")), "{found:?}");
    for name in ["Top", "", "7", "a.b", "a\nb", &"x".repeat(65)] {
        let found = faults(name, "");
        assert!(found.len() == 1 && found[0].0.is_empty(), "{name:?}: {found:?}");
    }
    let deep = (0..40).fold("1".to_owned(), |inner, _| format!("{{ a = {inner} }}"));
    let found = faults("x", &format!("[config]\na = {deep}\n"));
    assert!(found[0].0.starts_with("/config/a/a/a"), "{found:?}");
}

#[test]
fn there_are_no_more_sections_than_are_served_and_no_more_bytes_than_are_read() {
    let many: String = (0..1_000).map(|n| format!("[metrics.m{n}]\n")).collect();
    let many = file(&many).unwrap();
    let faults = many.with("one_more", Table::new()).unwrap_err();
    assert!(faults[0].detail.contains("at most 1000"), "{faults:?}");
    assert!(many.with("m7", table("enabled = false")).is_ok());
    let long = |letters: usize| {
        let text = Value::String("x".repeat(letters));
        Table::from_iter([(
            "config".to_owned(),
            Value::Table(Table::from_iter([("a".into(), text)])),
        )])
    };
    let none = file("").unwrap();
    assert!(none.with("x", long(64 << 10)).is_ok());
    let faults = none.with("x", long(1 << 20)).unwrap_err();
    assert!(faults[0].detail.contains("would have more than 1024 KiB"), "{faults:?}");
}

#[test]
fn what_would_take_far_more_than_its_length_is_refused_before_it_is_read() {
    let long = "k".repeat(257);
    let none = file("").unwrap();
    let section = table(&format!("[config]\n{long} = 1\n"));
    let faults = none.with("x", section.clone()).unwrap_err();
    assert!(faults.len() == 1 && faults[0].detail.contains("a key of more than 256 bytes"));
    let refused = file(&section_toml("x", &section)).unwrap_err().to_string();
    assert!(refused.contains("[metrics.x] has a key of more than 256 bytes"), "{refused}");
    let keys = |n: usize| format!("{}.k{n} = 1\n", [&long[1..]; 8].join("."));
    let deep: String = (0..400).map(keys).collect();
    let deep = |n: usize| format!("[metrics.m{n}.config]\n{deep}");
    assert!(file(&deep(0)).is_ok());
}

#[test]
fn both_files_together_have_no_more_sections_than_are_served() {
    let own = file("[metrics.m1]\n[metrics.own]\n").unwrap();
    let of = |count: usize| -> BTreeMap<String, MetricConfig> {
        (0..count).map(|n| (format!("m{n}"), MetricConfig::default())).collect()
    };
    assert!(own.judge_beside(&of(999)).is_ok());
    let told = own.judge_beside(&of(1_000)).unwrap_err().to_string();
    assert!(told.contains("its 1 sections") && told.contains("are 1001; at most 1000"), "{told}");
}

#[test]
fn a_file_that_somebody_damaged_is_refused_with_line_and_remedy() {
    let folder = folder_of_test();
    for (text, place) in [
        ("[metrics.x]\nplugin == 7\n", "sections.toml:2:"),
        ("[metrics.x]\nhistory = \"some\"\n", "sections.toml:2:"),
        ("[metrics.x]\n[server]\nlisten = \"127.0.0.1:0\"\n", "sections.toml:2:"),
        ("[metrics.x]\nplugin = 7\n", "sections.toml:2:"),
    ] {
        std::fs::write(folder.0.join(SECTIONS_FILE), text).unwrap();
        let told = Sections::open(&folder.0).unwrap_err().to_string();
        assert!(told.contains(place) && told.contains("move the file away"), "{text:?}: {told}");
    }
    std::fs::remove_file(folder.0.join(SECTIONS_FILE)).unwrap();
    assert!(Sections::open(&folder.0).unwrap().given().is_empty());
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it lies in a temporary place.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder_of_test() -> Folder {
    let folder = std::env::temp_dir().join(format!("tally-sections-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    Folder(folder)
}

#[test]
fn a_configuration_takes_what_it_has_not_and_points_into_the_right_file() {
    let text = "[metrics.a]\nhistory = \"none\"\n";
    let mut loaded = merge(Some((Path::new("metrics.toml"), text)), &|_| None, &[]).unwrap();
    let sections = file("[metrics.a]\nkeep_old = \"2h\"\n[metrics.b]\nhistory = \"1d\"\n").unwrap();
    assert_eq!((loaded.add_sections(sections), loaded.count_added()), (vec!["a".to_owned()], 1));
    let history = |name: &str| loaded.config.metrics[name].history.clone();
    assert_eq!((history("a"), history("b")), ("none".into(), "1d".into()));
    let origin = |key: &str| {
        let settings = loaded.settings();
        settings.into_iter().find(|setting| setting.key == key).unwrap().origin.to_string()
    };
    assert_eq!(origin("metrics.a.history"), "metrics.toml:2:1");
    assert_eq!(origin("metrics.a.keep_old"), "default");
    assert_eq!(origin("metrics.b.history"), "data/sections.toml:4:1");
    let place = |key: &str| loaded.fault(key, "no".into()).place.to_string();
    assert_eq!(place("metrics.a.history"), "metrics.toml:2:11");
    assert_eq!(place("metrics.b.history"), "data/sections.toml:4:11");
    assert_eq!(place("metrics.b.config.x"), "data/sections.toml:3:10");
}

#[test]
fn a_section_is_shown_by_what_it_changes() {
    let section = file("[metrics.a]\nplugin = \"counts\"\nhistory = \"all\"\nkeep_old = \"2h\"\n");
    let given = section.unwrap().metrics()["a"].given();
    assert_eq!(given, table("plugin = \"counts\"\nkeep_old = \"2h\"\n"));
    assert_eq!(section_toml("a", &given), "[metrics.a]\nkeep_old = \"2h\"\nplugin = \"counts\"\n");
    assert_eq!(section_toml("a", &Table::new()), "[metrics.a]\n");
}

#[test]
fn a_key_of_a_section_has_a_pointer() {
    for (key, pointer) in [
        ("metrics.x", ""),
        ("metrics", ""),
        ("metrics.xy.plugin", ""),
        ("metrics.x.plugin", "/plugin"),
        ("metrics.x.config.by.0", "/config/by/0"),
        ("metrics.x.config.\"a.b/c~\"", "/config/a.b~1c~0"),
        ("metrics.x.config.\"\"\"a\nb\"\"\"", ""),
    ] {
        assert_eq!(pointer_in("x", key), pointer, "{key}");
    }
}
