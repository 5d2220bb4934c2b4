//! Clients that are generated from the OpenAPI document compile, and read the golden answers.

use crate::tools::{GENERATOR, generator, node, python, script, scripts};
use crate::world::{CASES, World, json_of};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use tally_tests::day;
use tally_tests::programs::{Verdict, program, run};

/// How long a step may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Options of openapi-generator: the API's own names, params of an operation one after the other,
/// imports as Node.js resolves them.
const OPTIONS: &str =
    "modelPropertyNaming=original,useSingleRequestParameter=false,importFileExtension=.js";

/// The operationId of `POST /api/metrics`, and its tag.
fn asking(document: &Path) -> Result<(String, String)> {
    let document = json_of(document)?;
    let operation = &document["paths"]["/api/metrics"]["post"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let id = text(&operation["operationId"]).context("POST /api/metrics has no operationId")?;
    Ok((id, text(&operation["tags"][0]).unwrap_or_else(|| "default".into())))
}

/// `one_name` or `one name` as `OneName`.
fn pascal(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    words.map(word).collect()
}

/// As [`pascal`], with a small letter first.
fn camel(name: &str) -> String {
    let name = pascal(name);
    name[..1].to_lowercase() + &name[1..]
}

fn questions() -> (Vec<Value>, Vec<Value>) {
    let golden: Value = serde_json::from_str(CASES).unwrap();
    let of = |name: &str| golden[name].as_array().unwrap().clone();
    (of("events"), of("cases"))
}

#[test]
fn the_golden_cases_are_what_the_engine_answers() {
    let (events, cases) = questions();
    assert_eq!(events, day::events(), "the cases are of the known day");
    assert!(cases.len() > 10, "{} cases", cases.len());
    let world = World::new("").unwrap();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let answer = world.tally.client.answer(name, &case["params"], "").unwrap();
        let warnings = answer["warnings"].as_array().unwrap().iter();
        let warnings: Vec<&Value> = warnings.map(|warning| &warning["code"]).collect();
        assert_eq!(answer["result"], case["result"], "{case}");
        assert_eq!(warnings, case["warnings"].as_array().unwrap().iter().collect::<Vec<_>>());
    }
    world.tally.stop().unwrap();
}

#[test]
fn a_generated_client_in_typescript_compiles_and_reads_the_golden_answers() {
    let world = World::new("").unwrap();
    let document = world.document("/api/openapi.json", "openapi.json").unwrap();
    let folder = world.path("typescript");
    fs::create_dir(&folder).unwrap();
    let mut generate = program("java");
    generate.arg("-jar").arg(generator().unwrap()).args(["generate", "-g", "typescript-fetch"]);
    generate.arg("-i").arg(&document).arg("-o").arg(folder.join("client"));
    generate.args(["--additional-properties", OPTIONS]).current_dir(&folder);
    run(&mut generate, LIMIT).unwrap();

    let (operation, tag) = asking(&document).unwrap();
    let names = format!(
        "export {{ {}Api as Api }} from \"./client/index.js\";\nexport const ask = \"{}\" as const;\n",
        pascal(&tag),
        camel(&operation)
    );
    fs::write(folder.join("operation.ts"), names).unwrap();
    fs::write(folder.join("package.json"), "{\"type\":\"module\"}").unwrap();
    for name in ["golden.ts", "tsconfig.json"] {
        fs::copy(scripts().join(name), folder.join(name)).unwrap();
    }
    let compiler = node().unwrap().join("node_modules/.bin/tsc");
    run(program(&compiler).args(["-p", "."]).current_dir(&folder), LIMIT).unwrap();
    let version = run(program(&compiler).arg("--version"), LIMIT).unwrap();
    let version = version.trim().rsplit(' ').next().unwrap_or_default();

    let mut ask = program("node");
    ask.arg("out/golden.js").arg(world.tally.url()).arg(CASES).current_dir(&folder);
    let asked = run(&mut ask, LIMIT).unwrap();
    let count = asked.trim().strip_prefix("asked: ").unwrap().parse().unwrap();
    let judge = format!("tsc {version}, openapi-generator typescript-fetch {GENERATOR}");
    Verdict { judge, count, of: "answers".into() }.tell(questions().1.len() as u64).unwrap();
    world.tally.stop().unwrap();
}

#[test]
fn a_generated_client_in_python_compiles_and_reads_the_golden_answers() {
    let world = World::new("").unwrap();
    let document = world.document("/api/openapi.json", "openapi.json").unwrap();
    let folder = world.path("python");
    fs::create_dir(&folder).unwrap();
    let mut generate = python("openapi-python-client").unwrap();
    generate.args(["generate", "--meta", "none", "--output-path", "client", "--path"]);
    run(generate.arg(&document).current_dir(&folder), LIMIT).unwrap();
    let mut compile = python("python").unwrap();
    compile.args(["-m", "compileall", "-q", "client"]).current_dir(&folder);
    run(&mut compile, LIMIT).unwrap();

    let cases = world.home.write("cases.json", CASES).unwrap();
    let (operation, _) = asking(&document).unwrap();
    let mut ask = script("golden.py").unwrap();
    ask.arg(&folder).arg(world.tally.url()).arg(operation).arg(cases).current_dir(&folder);
    let verdict = Verdict::read(&run(&mut ask, LIMIT).unwrap()).unwrap();
    verdict.tell(questions().1.len() as u64).unwrap();
    world.tally.stop().unwrap();
}

#[test]
fn names_are_written_as_generators_write_them() {
    assert_eq!(
        (camel("evaluate_metric"), pascal("live data")),
        ("evaluateMetric".into(), "LiveData".into())
    );
    assert_eq!(
        (camel("EvaluateMetric"), pascal("metrics")),
        ("evaluateMetric".into(), "Metrics".into())
    );
}
