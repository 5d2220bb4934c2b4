//! The API keeps its OpenAPI document, whatever it is asked: schemathesis makes requests of it, right
//! and wrong ones, single and in turn, and holds each answer against it.

use crate::tools::{python, scripts};
use crate::world::{World, json_of};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tally_tests::programs::{Verdict, output, written};

/// How long all cases may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Cases at least.
const CASES: u64 = 2_000;

/// The operation by which metrics are added.
const ADDS_METRICS: &str = "putSection";

/// All of its ways to find cases.
const PHASES: [&str; 4] = ["examples", "coverage", "fuzzing", "stateful"];

/// What schemathesis says of an engine and a document; the operations may be narrowed by `more`.
///
/// # Errors
/// The failures.
pub(crate) fn fuzz(world: &World, document: &Path, more: &[&str]) -> Result<(Verdict, Value)> {
    let folder = world.path("fuzz");
    fs::create_dir_all(&folder)?;
    for name in ["schemathesis.toml", "hooks.py"] {
        fs::copy(scripts().join(name), folder.join(name))?;
    }
    let mut command = python("schemathesis")?;
    command.args(["--config-file", "schemathesis.toml", "run"]).arg(document);
    command.args(["--url", &world.tally.url(), "--checks", "all"]);
    command.args(["--report", "json", "--report-json-path", "report.json"]).args(more);
    let done = output(command.current_dir(&folder), LIMIT)?;
    ensure!(done.status.success(), "{}\n{}", done.status, written(&done));
    let report = json_of(&folder.join("report.json"))?;
    let version = report["schemathesis_version"].as_str().context("a version")?;
    let count = report["test_cases"]["generated"].as_u64().context("a number of cases")?;
    let verdict =
        Verdict { judge: format!("schemathesis {version}"), count, of: "requests".into() };
    Ok((verdict, report))
}

#[test]
fn the_api_keeps_its_document_whatever_it_is_asked() {
    let world = World::new("").unwrap();
    let document = world.document("/api/openapi.json", "openapi.json").unwrap();
    // It adds metrics, which the document of before does not know.
    let others = ["--exclude-operation-id", ADDS_METRICS];
    let (verdict, report) = fuzz(&world, &document, &others).unwrap();
    verdict.tell(CASES).unwrap();
    for phase in PHASES {
        assert_eq!(report["phases"][phase]["status"], "success", "{phase}: {report}");
    }
    let operations = &report["operations"];
    let left_out = operations["total"].as_u64().unwrap() - operations["tested"].as_u64().unwrap();
    // The feeds, of which schemathesis.toml says why, and what adds metrics.
    assert!(left_out <= 3, "{operations}");
    assert_eq!(report["errors"], serde_json::json!([]), "{report}");
    assert_eq!(world.tally.client.get("/livez").unwrap().status, 200);
    world.tally.stop().unwrap();
}

#[test]
fn metrics_that_are_added_keep_the_document() {
    let world = World::new("").unwrap();
    let document = world.document("/api/openapi.json", "openapi.json").unwrap();
    let only = ["--include-operation-id", ADDS_METRICS, "--include-operation-id", "deleteSection"];
    // No link leads from one of the two to the other.
    let only = [&only[..], &["--phases", "examples,coverage,fuzzing"]].concat();
    let (verdict, _) = fuzz(&world, &document, &only).unwrap();
    verdict.tell(50).unwrap();
    assert_eq!(world.tally.client.get("/livez").unwrap().status, 200);
    world.tally.stop().unwrap();
}
