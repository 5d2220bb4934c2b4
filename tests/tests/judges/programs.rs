//! The programs that docs/watching.md shows run as they stand there, and miss nothing while an
//! engine is started again.
//!
//! What a program must print is said by words behind its language in the document (`programs.py`).
//! A page is what Node.js, undici and `page.mjs` make of one, not a browser.

use crate::tools::{node, script};
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tally_tests::programs::{Verdict, run};
use tally_tests::tally::binary;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watching.md");

/// How long all programs of a language may take.
const LIMIT: Duration = Duration::from_secs(320);

/// Languages of programs.
const LANGUAGES: [&str; 3] = ["sh", "python", "js"];

/// What is fenced and no program.
const OTHERS: [&str; 1] = ["text"];

/// The language of each fenced part of a document.
fn languages(document: &str) -> Vec<&str> {
    let fences = document.lines().filter_map(|line| line.strip_prefix("```"));
    fences.step_by(2).map(|info| info.split(' ').next().unwrap_or_default()).collect()
}

fn judge(language: &str, packages: Option<PathBuf>, least: u64) -> Result<()> {
    let mut judge = script("programs.py")?;
    judge.arg(binary()?.canonicalize()?).arg(DOCUMENT).arg(language).args(packages);
    Verdict::read(&run(&mut judge, LIMIT)?)?.tell(least)
}

#[test]
fn the_commands_of_the_document_print_what_they_must() {
    judge("sh", None, 3).unwrap();
}

#[test]
fn the_program_in_python_prints_what_it_must() {
    judge("python", None, 1).unwrap();
}

#[test]
fn the_programs_of_pages_print_what_they_must() {
    judge("js", Some(node().unwrap()), 3).unwrap();
}

#[test]
fn every_program_of_the_document_is_judged() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let found = languages(&document);
    for language in LANGUAGES {
        assert!(found.contains(&language), "{found:?}");
    }
    let known = |language: &&str| LANGUAGES.contains(language) || OTHERS.contains(language);
    let foreign: Vec<&str> = found.into_iter().filter(|language| !known(language)).collect();
    assert!(foreign.is_empty(), "no judge runs these: {foreign:?}");
    assert_eq!(languages("```a b\n```\nc\n```d\n```\n```\n```"), ["a", "d", ""]);
}
