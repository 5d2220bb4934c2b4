//! Where tests sleep. No test sleeps to wait for something: it asks until it is so. What is left
//! stands in a list, each with its reason, which only becomes shorter.

use super::exceptions::Exceptions;
use super::none;
use super::reading::{Source, sources};

/// The files whose tests sleep. Reasons: between two questions of a loop with a limit; the pace of
/// what a test does; the moment of a fault that is meant to be at random; a time over which
/// something is measured.
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
    let sources = sources();
    let found = sources
        .iter()
        .filter(|source| FOLDERS.iter().any(|folder| source.is_in(folder)))
        .map(|source| (source.path.as_str(), sleeps(code_of_tests(source))));
    none(Exceptions::of(LIST).faults(found, "calls of sleep in tests", "ask until it is so"));
}

#[test]
fn calls_of_sleep_are_counted() {
    assert_eq!(
        sleeps("std::thread::sleep(a); tokio::time::sleep(b).await; x.nosleep(c); sleep_until(d)"),
        2
    );
}
