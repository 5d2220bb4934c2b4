//! `tally plugin check`: checks everything of a plugin file that can be checked without an engine.

use super::super::output;
use super::Failure;
use super::args::CheckArgs;
use super::child::{Message, Next, Worker};
use super::inside::{GATE, SPEED};
use super::report::{self, Verdict};
use serde_json::{Value, json};
use tally_engine::files;
use tally_testkit::LAWS;

/// What a plugin prints comes between what the engine prints.
const SILENCE: &str = "silence";

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let config = configuration(args.config.as_deref())?;
    let mut worker = Worker::start(args.file.clone(), config, None, args.timeout)?;
    let mut report = CheckReport { json: args.json, verdicts: Vec::new() };
    let mut begun = GATE[0].to_owned();
    loop {
        match worker.next() {
            Next::Said(Message::Begun(name)) => begun = name,
            Next::Said(Message::Good(detail)) => report.conclude(&begun, Verdict::Good(detail)),
            Next::Said(Message::Bad(fault)) => report.conclude(&begun, Verdict::Bad(fault)),
            Next::Said(Message::Answers(_)) => {}
            Next::Said(Message::Done) => break,
            Next::Ended(how) => {
                report.conclude(&begun, Verdict::Bad(how));
                break;
            }
        }
    }
    for name in GATE.into_iter().chain(LAWS.map(|law| law.name)).chain([SPEED]) {
        if !report.verdicts.iter().any(|(looked, _)| looked == name) {
            report.conclude(name, Verdict::Skipped);
        }
    }
    let printed = worker.printed();
    let silence = match printed.lines {
        0 => Verdict::Good("it printed nothing".into()),
        n => Verdict::Bad(format!(
            "it printed {n} lines to stdout, the first: {} (log() is for that)",
            printed.first
        )),
    };
    report.conclude(SILENCE, silence);
    let verdicts = report.verdicts;
    let bad = verdicts.iter().filter(|(_, verdict)| verdict.is_bad()).count();
    if args.json {
        output::data(&as_json(args, &verdicts, bad == 0).to_string());
    }
    let file = output::tame(&args.file.to_string_lossy());
    if bad > 0 {
        return Err(Failure::Failed(format!(
            "{file} is not usable: {bad} of {} checks failed",
            verdicts.len()
        )));
    }
    if !args.json {
        output::data(&format!("usable: cp {file} plugins/"));
    }
    Ok(())
}

/// The checks so far.
struct CheckReport {
    json: bool,
    verdicts: Vec<(String, Verdict)>,
}

impl CheckReport {
    fn conclude(&mut self, name: &str, verdict: Verdict) {
        if !self.json {
            report::print(name, &verdict);
        }
        self.verdicts.push((name.to_owned(), verdict));
    }
}

fn as_json(args: &CheckArgs, verdicts: &[(String, Verdict)], usable: bool) -> Value {
    let check = |(name, verdict): &(String, Verdict)| {
        let ok = if *verdict == Verdict::Skipped { Value::Null } else { verdict.is_good().into() };
        json!({"check": name, "ok": ok, "detail": verdict.detail()})
    };
    let checks: Vec<Value> = verdicts.iter().map(check).collect();
    json!({"file": args.file.display().to_string(), "usable": usable, "checks": checks})
}

/// Larger configurations are refused.
const LARGEST: u64 = 1 << 20;

/// JSON as it is, or the content of a file of JSON or TOML.
fn configuration(given: Option<&str>) -> Result<Value, Failure> {
    let Some(given) = given else { return Ok(json!({})) };
    let (name, text) = if given.trim_start().starts_with('{') {
        ("--config", given.to_owned())
    } else {
        let text = files::read_text(given.as_ref(), LARGEST);
        (given, text.map_err(|fault| Failure::Usage(format!("--config {given} {fault}")))?)
    };
    let read = if name.ends_with(".toml") {
        toml::from_str::<Value>(&text).map_err(|fault| fault.message().to_owned())
    } else {
        serde_json::from_str::<Value>(&text).map_err(|fault| fault.to_string())
    };
    match read {
        Ok(config @ Value::Object(_)) => Ok(config),
        Ok(_) => Err(Failure::Usage(format!("{name} is not an object: {{\"key\": value}}"))),
        Err(fault) => Err(Failure::Usage(format!("{name} is unreadable: {fault}"))),
    }
}
