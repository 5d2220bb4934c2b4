//! Folders of boards: what is served of them, what is not, and that nothing outside of them is.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const EMPTY: &str = r#"{"version":1,"title":"Empty","items":[]}"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn reasons(list: &BoardList) -> Vec<(&str, &str)> {
    list.rejected.iter().map(|refused| (&*refused.file, &*refused.reason)).collect()
}

#[test]
fn boards_are_listed_by_name_and_files_that_are_none_with_their_reason() {
    let files = [
        ("b.json", EMPTY),
        (
            "a-1.json",
            r#"{"version":1,"title":"A","items":[{"id":"x","metric":"m","params":{},"x":0,"y":0,"w":1,"h":1}]}"#,
        ),
        ("Upper.json", EMPTY),
        ("broken.json", "{"),
        ("other.json", r#"{"version":2,"title":"A","items":[]}"#),
        ("notes.txt", "no board"),
        (".hidden.json", "{"),
    ];
    let folder = folder(&files);
    fs::create_dir(folder.path().join("folder.json")).unwrap();
    let boards = Boards::of(folder.path());
    for _ in 0..2 {
        let list = boards.list();
        let listed = serde_json::to_value(&list.boards).unwrap();
        let expected = json!([
            {"name": "a-1", "title": "A", "items": 1}, {"name": "b", "title": "Empty", "items": 0}
        ]);
        assert_eq!(listed, expected);
        let told = reasons(&list);
        let names: Vec<&str> = told.iter().map(|(file, _)| *file).collect();
        assert_eq!(names, ["Upper.json", "broken.json", "folder.json", "other.json"]);
        for ((_, reason), words) in told.iter().zip([
            "has a name that no board has",
            "is no JSON",
            "is not a regular file",
            "is no board: version",
        ]) {
            assert!(reason.contains(words), "{reason}");
        }
    }
    assert_eq!(boards.read("b").unwrap(), EMPTY.as_bytes());
    assert_eq!(boards.read("none"), Err(BoardFault::Missing));
    assert!(matches!(boards.read("other"), Err(BoardFault::Document(_))));
}

#[test]
fn a_file_that_changes_comes_or_goes_is_seen() {
    let folder = folder(&[("a.json", EMPTY)]);
    let boards = Boards::of(folder.path());
    let title = || boards.list().boards.iter().map(|entry| entry.title.clone()).collect::<Vec<_>>();
    assert_eq!(title(), ["Empty"]);
    // Of the same length.
    fs::write(folder.path().join("a.json"), EMPTY.replace("Empty", "Other")).unwrap();
    assert_eq!(title(), ["Other"]);
    fs::write(folder.path().join("b.json"), EMPTY).unwrap();
    assert_eq!(title(), ["Other", "Empty"]);
    fs::remove_file(folder.path().join("a.json")).unwrap();
    assert_eq!(title(), ["Empty"]);
}

#[test]
fn a_file_that_is_the_same_is_not_read_again() {
    let folder = folder(&[("a.json", EMPTY), ("b.json", "{")]);
    let at = |name: &str| folder.path().join(name);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    let dated = |name: &str, time| {
        let file = fs::File::options().write(true).open(at(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    let boards = Boards::of(folder.path());
    let titles = || {
        let list = boards.list();
        let titles: Vec<String> = list.boards.into_iter().map(|entry| entry.title).collect();
        (titles, list.rejected.len())
    };
    let told = |title: &str, rejected: usize| (vec![title.to_owned()], rejected);
    assert_eq!(titles(), told("Empty", 1));
    assert_eq!(boards.kept.count(), 0, "they have just changed");
    dated("a.json", long_ago);
    dated("b.json", long_ago);
    assert_eq!((titles(), boards.kept.count()), (told("Empty", 1), 2));
    // In place, of the same length and time: nobody can tell.
    fs::write(at("a.json"), EMPTY.replace("Empty", "Other")).unwrap();
    dated("a.json", long_ago);
    assert_eq!(titles(), told("Empty", 1));
    dated("a.json", long_ago + std::time::Duration::from_secs(1));
    assert_eq!(titles(), told("Other", 1));
    fs::remove_file(at("b.json")).unwrap();
    assert_eq!((titles(), boards.kept.count()), (told("Other", 0), 1));
}

#[test]
fn nothing_outside_of_the_folder_is_read() {
    let outside = folder(&[("secret.json", EMPTY)]);
    let folder = folder(&[("kept.json", EMPTY)]);
    let at = |name: &str| folder.path().join(name);
    symlink(outside.path().join("secret.json"), at("out.json")).unwrap();
    symlink("../../../../etc/passwd", at("passwd.json")).unwrap();
    symlink("kept.json", at("in.json")).unwrap();
    symlink("nowhere.json", at("dead.json")).unwrap();
    fs::create_dir(at("..data")).unwrap();
    fs::write(at("..data/mounted.json"), EMPTY).unwrap();
    symlink("..data/mounted.json", at("mounted.json")).unwrap();
    let boards = Boards::of(folder.path());
    let list = boards.list();
    let names: Vec<&str> = list.boards.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["in", "kept", "mounted"]);
    let out = "is a link that leads out of the folder";
    let dead = "is a link to a file that is not there";
    assert_eq!(reasons(&list), [("dead.json", dead), ("out.json", out), ("passwd.json", out)]);
    assert_eq!(boards.read("out"), Err(BoardFault::Outside));
    for name in ["../secret", "..", "", "a/b", "a.b", "A", "_a", "..data/mounted", "\0"] {
        assert_eq!(boards.read(name), Err(BoardFault::Missing), "{name}");
    }
    assert_eq!(boards.read(&"a".repeat(65)), Err(BoardFault::Missing));
}

#[test]
fn there_are_so_many_of_such_a_size_and_no_more() {
    let folder = folder(&[]);
    for n in 0..=MOST {
        fs::write(folder.path().join(format!("b{n:04}.json")), EMPTY).unwrap();
    }
    let long = " ".repeat(LARGEST as usize - EMPTY.len());
    fs::write(folder.path().join("a-long.json"), format!("{EMPTY}{long}")).unwrap();
    fs::write(folder.path().join("a-longer.json"), format!("{EMPTY}{long} ")).unwrap();
    let list = Boards::of(folder.path()).list();
    assert_eq!(list.boards.len(), MOST - 1);
    assert_eq!(list.boards[0].name, "a-long");
    let told = [
        (KEY, "names a folder of more than 1000 boards; the last 3 are not served"),
        ("a-longer.json", "is larger than 256 KiB"),
    ];
    assert_eq!(reasons(&list), told);
}

#[test]
fn without_a_folder_there_are_none() {
    let none = Boards::of(Path::new(""));
    assert!(
        !none.is_configured() && none.list().boards.is_empty() && none.list().rejected.is_empty()
    );
    assert_eq!(none.read("a"), Err(BoardFault::Missing));
    let missing = Boards::of(Path::new("/nowhere/at/all"));
    let list = missing.list();
    assert_eq!(list.rejected.len(), 1);
    assert_eq!(list.rejected[0].file, KEY);
    assert!(list.rejected[0].reason.starts_with("names a folder that cannot be read: "));
}
