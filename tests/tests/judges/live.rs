//! What comes on `/ws` is what the AsyncAPI document says: each of ten thousand messages.

use crate::tools::script;
use crate::world::World;
use anyhow::Result;
use std::path::Path;
use std::time::Duration;
use tally_tests::programs::{Verdict, run};
use tally_tests::tally::plugin;

/// How long all messages may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Messages that are judged at least.
const MESSAGES: u64 = 10_000;

/// What a client says that holds each message against a document.
///
/// # Errors
/// The first message that is none of the document's.
pub(crate) fn listen(world: &World, document: &Path) -> Result<Verdict> {
    let mut judge = script("live.py")?;
    judge.arg(world.tally.url()).arg(document).arg(plugin("unique_visitors")?);
    judge.arg(world.path("plugins")).current_dir(world.home.path());
    Verdict::read(&run(&mut judge, LIMIT)?)
}

#[test]
fn ten_thousand_messages_are_those_of_the_document() {
    let world = World::new("").unwrap();
    let document = world.document("/api/asyncapi.json", "asyncapi.json").unwrap();
    listen(&world, &document).unwrap().tell(MESSAGES).unwrap();
    world.tally.stop().unwrap();
}
