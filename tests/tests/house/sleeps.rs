//! Where tests sleep. No test sleeps to wait for something: it asks until it is so. What is left
//! stands in a list, each with its reason, which only becomes shorter.

use super::none;
use super::reading::{Source, read, sources};
use std::collections::BTreeMap;

/// The files whose tests sleep: `path number reason`. Reasons: between two questions of a loop with
/// a limit; the pace of what a test does; the moment of a fault that is meant to be at random; a
/// time over which something is measured.
const LIST: &str = "tests/tests/house/sleeps.txt";

/// Where tests are.
const FOLDERS: [&str; 4] = ["tests/", "server/src/", "engine/", "plugin-api/"];

fn sleeps(code: &str) -> usize {
    let call = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices("sleep(").filter(|(at, _)| call(*at)).count()
}

/// The code that only tests run.
fn code_of_tests(source: &Source) -> &str {
    if source.is_test() || source.is_in("tests/") {
        return &source.code;
    }
    source.code.strip_prefix(source.without_tests()).unwrap_or_default()
}

#[test]
fn tests_do_not_sleep_to_wait() {
    let list = read(LIST);
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for line in list.lines() {
        let mut words = line.splitn(3, ' ');
        let (path, number) = (words.next(), words.next().and_then(|number| number.parse().ok()));
        let (Some(path), Some(number)) = (path, number) else { panic!("{LIST}: {line}") };
        if words.next().is_none_or(|reason| reason.trim().is_empty()) {
            faults.push(format!("{LIST}: {path} gives no reason"));
        }
        listed.insert(path, number);
    }
    for source in
        sources().iter().filter(|source| FOLDERS.iter().any(|folder| source.is_in(folder)))
    {
        let (found, allowed) =
            (sleeps(code_of_tests(source)), listed.remove(source.path.as_str()).unwrap_or(0));
        if found > allowed {
            faults.push(format!(
                "{} sleeps {found} times, not {allowed}: ask until it is so",
                source.path
            ));
        } else if found < allowed {
            faults.push(format!(
                "{} sleeps {found} times, not {allowed}: say so in {LIST}",
                source.path
            ));
        }
    }
    faults.extend(listed.keys().map(|path| format!("{path} is gone; take it off {LIST}")));
    none(faults);
}

#[test]
fn calls_of_sleep_are_counted() {
    assert_eq!(
        sleeps("std::thread::sleep(a); tokio::time::sleep(b).await; x.nosleep(c); sleep_until(d)"),
        2
    );
}
