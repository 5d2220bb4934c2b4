//! `/metrics` is what Prometheus reads, and names and explains its figures as Prometheus asks for:
//! promtool.

use crate::world::World;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use tally_tests::programs::{Verdict, output, program, run, written};

/// How long promtool may take.
const LIMIT: Duration = Duration::from_secs(30);

const REMEDY: &str = "promtool: apt-get install prometheus";

/// What promtool says of figures.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn promtool(figures: &Path) -> Result<Verdict> {
    let version = run(program("promtool").arg("--version"), LIMIT).context(REMEDY)?;
    let version = version.split(' ').nth(2).unwrap_or_default();
    let mut check = program("promtool");
    check.args(["check", "metrics"]).stdin(File::open(figures)?);
    let checked = output(&mut check, LIMIT)?;
    // What it dislikes it writes, and then its status is not 0.
    let said = written(&checked);
    ensure!(checked.status.success() && said.trim().is_empty(), "{}: {said}", checked.status);
    let text = std::fs::read_to_string(figures)?;
    let count = text.lines().filter(|line| line.starts_with("# TYPE ")).count() as u64;
    Ok(Verdict { judge: format!("promtool {version}"), count, of: "figures".into() })
}

#[test]
fn the_figures_are_those_of_prometheus() {
    let export = "[export.prometheus.shop_events]\nmetric = \"event_frequencies\"\nrows = \"/by_type\"\n\
        labels = { type = \"@key\" }\nevery = \"1s\"\n";
    let world = World::new(export).unwrap();
    // Once the exported question was answered.
    let exported = world.tally.client.until("an exported figure", LIMIT, |client| {
        let count = client.figure("shop_events", "type=\"view\"").unwrap_or_default();
        if count == 8.0 { Ok(String::new()) } else { Err(count.to_string()) }
    });
    exported.unwrap();
    let figures = world.document("/metrics", "figures").unwrap();
    promtool(&figures).unwrap().tell(20).unwrap();
    world.tally.stop().unwrap();
}
