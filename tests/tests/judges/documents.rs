//! The documents are what they say they are: OpenAPI 3.1, AsyncAPI 3.

use crate::tools::{node, script, scripts};
use crate::world::World;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;
use tally_tests::programs::{Verdict, program, run};

/// How long a judge may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What openapi-spec-validator says of a document.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn openapi(document: &Path) -> Result<Verdict> {
    Verdict::read(&run(script("openapi.py")?.arg(document), LIMIT)?)
}

/// What the parser of AsyncAPI says of a document.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn asyncapi(document: &Path) -> Result<Verdict> {
    let mut command = program("node");
    command.arg(scripts().join("asyncapi.mjs")).arg(document).current_dir(node()?);
    Verdict::read(&run(&mut command, LIMIT).context("Node.js: apt-get install nodejs")?)
}

#[test]
fn the_document_of_the_api_is_openapi() {
    let world = World::new("").unwrap();
    let document = world.document("/api/openapi.json", "openapi.json").unwrap();
    openapi(&document).unwrap().tell(20).unwrap();
    world.tally.stop().unwrap();
}

#[test]
fn the_document_of_the_messages_is_asyncapi() {
    let world = World::new("").unwrap();
    let document = world.document("/api/asyncapi.json", "asyncapi.json").unwrap();
    asyncapi(&document).unwrap().tell(10).unwrap();
    world.tally.stop().unwrap();
}
