//! `tally plugin test`: runs golden cases against a built plugin file.

use super::super::output;
use super::Failure;
use super::args::Test;
use super::child::{Message, Next, Questions, Worker};
use super::report::{self, Verdict};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tally_engine::files::{self, ReadError};
use tally_testkit::golden::{Difference, Golden, as_lines};

const EVENTS: &str = "events.ndjson";
const QUESTIONS: &str = "questions.ndjson";
const ANSWERS: &str = "answers.ndjson";
const CONFIG: &str = "config.json";

pub(super) fn run(args: &Test) -> Result<(), Failure> {
    let cases = cases(&args.dir).map_err(Failure::Failed)?;
    let file = args.file.clone().map_or_else(|| built(&args.dir), Ok).map_err(Failure::Failed)?;
    let (mut failed, mut told) = (0, Vec::new());
    for case in &cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (verdict, differences) = match one(case, &file, args) {
            Ok(outcome) => outcome,
            Err(Failure::Failed(fault)) => (Verdict::Bad(fault), vec![]),
            Err(other) => return Err(other),
        };
        failed += usize::from(verdict.is_bad());
        if args.json {
            let shown = |one: &Difference| json!({"question": one.question, "expected": one.expected, "answered": one.answered});
            let differences: Vec<Value> = differences.iter().map(shown).collect();
            told.push(
                json!({"case": name, "ok": !verdict.is_bad(), "detail": verdict.detail(), "differences": differences}),
            );
            continue;
        }
        report::print(&name, &verdict);
        for Difference { question, expected, answered } in &differences {
            output::data(&format!(
                "    asked    {question}\n    expected {expected}\n    answered {answered}"
            ));
        }
    }
    if args.json {
        output::data(&json!({"file": file.display().to_string(), "cases": told}).to_string());
    }
    if failed > 0 {
        return Err(Failure::Failed(format!("{failed} of {} golden cases failed", cases.len())));
    }
    Ok(())
}

/// Larger files of a case are refused.
const LARGEST: u64 = 256 << 20;

/// Runs one case; with `--update` the answers become the expected ones.
fn one(case: &Path, file: &Path, args: &Test) -> Result<(Verdict, Vec<Difference>), Failure> {
    let failed = Failure::Failed;
    let text = |name: &str| files::read_text(&case.join(name), LARGEST);
    let read = |name: &str| text(name).map_err(|fault| failed(format!("{name} {fault}")));
    let (events, questions) = (read(EVENTS)?, read(QUESTIONS)?);
    let config = match text(CONFIG) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|fault| failed(format!("{CONFIG}: {fault}")))?
        }
        Err(ReadError::Missing) => json!({}),
        Err(fault) => return Err(failed(format!("{CONFIG} {fault}"))),
    };
    let golden = Golden::read(&events, &questions).map_err(failed)?;
    let answered = answers(file, config, Questions { events, questions }, args)?;
    let size = format!("{} answers over {} events", golden.questions(), golden.events());
    let expected = match text(ANSWERS) {
        Ok(text) => text,
        Err(ReadError::Missing) => String::new(),
        Err(fault) => return Err(failed(format!("{ANSWERS} {fault}"))),
    };
    let differences = match golden.compare(&answered, &expected) {
        Ok(differences) => differences,
        // An unreadable file is written anew.
        Err(_) if args.update => golden.compare(&answered, "").map_err(failed)?,
        Err(fault) => return Err(failed(fault)),
    };
    if differences.is_empty() {
        return Ok((Verdict::Good(size), differences));
    }
    let changed = differences.len();
    if args.update {
        fs::write(case.join(ANSWERS), as_lines(&answered))
            .map_err(|fault| failed(format!("{ANSWERS}: {fault}")))?;
        return Ok((
            Verdict::Good(format!("{size}, {changed} of them written to {ANSWERS}")),
            vec![],
        ));
    }
    let cure = "check each; --update accepts them as expected";
    Ok((Verdict::Bad(format!("{changed} of {size} differ from {ANSWERS} ({cure})")), differences))
}

fn answers(
    file: &Path,
    config: Value,
    questions: Questions,
    args: &Test,
) -> Result<Vec<Value>, Failure> {
    let mut worker = Worker::start(file.to_path_buf(), config, Some(questions), args.timeout)?;
    loop {
        match worker.next() {
            Next::Said(Message::Answers(answers)) => return Ok(answers),
            Next::Said(Message::Bad(fault)) => {
                return Err(Failure::Failed(format!("{} {fault}", file.display())));
            }
            Next::Said(Message::Begun(_) | Message::Good(_)) => {}
            Next::Said(Message::Done) => {
                return Err(Failure::Failed(format!("{} did not answer", file.display())));
            }
            Next::Ended(how) => return Err(Failure::Failed(format!("{} {how}", file.display()))),
        }
    }
}

/// The folders of the cases, by name.
fn cases(dir: &Path) -> Result<Vec<PathBuf>, String> {
    if dir.join(EVENTS).exists() {
        return Ok(vec![
            dir.canonicalize().map_err(|fault| format!("{}: {fault}", dir.display()))?,
        ]);
    }
    let folder =
        if dir.join("Cargo.toml").exists() { dir.join("tests/golden") } else { dir.to_path_buf() };
    let unreadable =
        |fault: std::io::Error| format!("{} cannot be read: {fault}", folder.display());
    let entries = fs::read_dir(&folder).map_err(unreadable)?;
    let mut found = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    found.retain(|case| case.join(EVENTS).exists());
    found.sort();
    if found.is_empty() {
        return Err(format!(
            "{} contains no golden case: no folder with {EVENTS} in it",
            folder.display()
        ));
    }
    Ok(found)
}

/// What `cargo build --release` made of the crate: in its own target folder, or that of a workspace
/// around it.
fn built(dir: &Path) -> Result<PathBuf, String> {
    let unknown = |fault: String| {
        format!("{}: {fault}; name the plugin file with --file FILE.so", dir.display())
    };
    let dir = dir.canonicalize().map_err(|fault| unknown(fault.to_string()))?;
    let manifest = files::read_text(&dir.join("Cargo.toml"), LARGEST);
    let manifest = manifest.map_err(|_| unknown("this is not a crate".into()))?;
    let manifest: Value = toml::from_str(&manifest)
        .map_err(|fault| unknown(format!("Cargo.toml: {}", fault.message())))?;
    let name = manifest.pointer("/package/name").and_then(Value::as_str);
    let name = name.ok_or_else(|| unknown("Cargo.toml names no package".into()))?.replace('-', "_");
    let mut targets: Vec<PathBuf> =
        std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).into_iter().collect();
    targets.extend(dir.ancestors().map(|folder| folder.join("target")));
    let files = targets.iter().map(|target| target.join(format!("release/lib{name}.so")));
    let not_built = || {
        format!("lib{name}.so is not built: cargo build --release, or name it with --file FILE.so")
    };
    files.into_iter().find(|file| file.exists()).ok_or_else(not_built)
}
