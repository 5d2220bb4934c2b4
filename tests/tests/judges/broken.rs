//! Each judge can say no: to a document that is broken on purpose, to an engine that does not do what
//! its document says, to figures that are none.

use crate::documents::{asyncapi, openapi};
use crate::figures::promtool;
use crate::fuzz::fuzz;
use crate::live::listen;
use crate::world::{World, json_of};
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::PathBuf;

/// The document with something else in it, as a file.
fn changed(world: &World, path: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut document = json_of(&world.document(path, "sound.json").unwrap()).unwrap();
    let before = document.clone();
    change(&mut document);
    assert_ne!(document, before, "{path}: nothing was changed");
    world.home.write("broken.json", document.to_string()).unwrap()
}

/// Why a judge said no.
fn refused(verdict: Result<impl Debug>) -> String {
    format!("{:#}", verdict.unwrap_err())
}

/// Where the schemas of the messages `hello` are: each object whose `type` is that word.
fn hellos<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    let kind = &value["properties"]["type"];
    if kind["const"] == "hello" || kind["enum"] == json!(["hello"]) {
        found.push(value);
        return;
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| hellos(member, found)),
        Value::Array(elements) => elements.iter_mut().for_each(|element| hellos(element, found)),
        _ => {}
    }
}

#[test]
fn judges_refuse_what_is_broken() {
    let world = World::new("").unwrap();
    let document = changed(&world, "/api/openapi.json", |document| {
        document["paths"]["/api/metrics"]["post"]["responses"] = json!({"200": {}});
    });
    let why = refused(openapi(&document));
    assert!(why.contains("description"), "{why}");

    let document = changed(&world, "/api/asyncapi.json", |document| {
        let operations = document["operations"].as_object_mut().unwrap();
        operations.values_mut().for_each(|operation| operation["action"] = json!("shout"));
    });
    let why = refused(asyncapi(&document));
    assert!(why.contains("action"), "{why}");

    let figures = "# HELP tally_events Events.\n# TYPE tally_events counter\ntally_events 1\n";
    let figures = world.home.write("figures", figures).unwrap();
    let why = refused(promtool(&figures));
    assert!(why.contains("_total"), "{why}");
    world.tally.stop().unwrap();
}

#[test]
fn judges_refuse_an_engine_that_does_not_keep_its_document() {
    let world = World::new("").unwrap();
    let document = changed(&world, "/api/openapi.json", |document| {
        let content = &mut document["paths"]["/api/status"]["get"]["responses"]["200"]["content"];
        content["application/json"]["schema"] = json!({"type": "integer"});
    });
    let narrow = ["--include-path", "/api/status", "--phases", "coverage,fuzzing"];
    let why = refused(fuzz(&world, &document, &narrow));
    assert!(why.contains("Response violates schema"), "{why}");

    let document = changed(&world, "/api/asyncapi.json", |document| {
        let mut found = Vec::new();
        hellos(document, &mut found);
        assert!(!found.is_empty(), "the document has no hello");
        for hello in found {
            hello["properties"]["protocol"] = json!({"type": "string"});
        }
    });
    let why = refused(listen(&world, &document));
    assert!(why.contains("$.protocol"), "{why}");
    world.tally.stop().unwrap();
}
