//! `/mcp` and `tally mcp` by the SDK of those who define MCP.

use crate::tools::script;
use crate::world::World;
use std::time::Duration;
use tally_tests::programs::{Verdict, run};
use tally_tests::tally::binary;

/// How long all calls may take.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_sdk_of_mcp_calls_every_metric_and_reads_every_resource() {
    let world = World::new("").unwrap();
    let mut judge = script("mcp_client.py").unwrap();
    judge.arg(world.tally.url()).arg(binary().unwrap()).current_dir(world.home.path());
    // For each metric two calls at least, over HTTP and over stdio.
    Verdict::read(&run(&mut judge, LIMIT).unwrap()).unwrap().tell(12).unwrap();
    world.tally.stop().unwrap();
}
