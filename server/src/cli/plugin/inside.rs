//! `tally plugin inside`: the process in which a plugin file is loaded. Not for people.
//!
//! Reads one job from stdin, announces each check before it does it, and reports the outcome.

use super::super::output;
use super::Failure;
use super::child::{Job, MARK, Message, Questions};
use serde_json::Value;
use std::time::Instant;
use tally_engine::config::MetricConfig;
use tally_engine::engine::{LoneMetric, LonePlugin, PluginFile};
use tally_plugin::abi::{Columns, DeltaBuffer};
use tally_plugin::ask::{Ask, Reply};
use tally_plugin::description::{Description, Table};
use tally_plugin::reader::Source;
use tally_testkit::golden::Golden;
use tally_testkit::{LAWS, Random, Subject, Trial, add_properties, as_columns, random_events};

/// The checks before the laws; each needs the one before it.
pub(super) const GATE: [&str; 4] = ["file", "handshake", "layout", "description"];

/// The check after the laws.
pub(super) const SPEED: &str = "speed";

/// Rows of a timed batch, and how often it is timed; the best time counts.
const ROWS: usize = 1_000;
const ROUNDS: usize = 200;

pub(super) fn run() -> Result<(), Failure> {
    let job = serde_json::from_reader(std::io::stdin().lock());
    let job: Job = job.map_err(|fault| {
        Failure::Usage(format!("this command is for internal use by tally: {fault}"))
    })?;
    match &job.golden {
        Some(questions) => answer(&job, questions),
        None => check(&job),
    }
    say(&Message::Done);
    Ok(())
}

fn say(message: &Message) {
    // Cannot fail: texts and JSON.
    let text = serde_json::to_string(message).unwrap_or_default();
    output::as_it_is(&format!("{MARK}{text}"));
}

/// Does one check and reports its outcome.
fn step<T>(name: &str, work: impl FnOnce() -> Result<(String, T), String>) -> Option<T> {
    say(&Message::Begun(name.into()));
    match work() {
        Ok((detail, made)) => {
            say(&Message::Good(detail));
            Some(made)
        }
        Err(fault) => {
            say(&Message::Bad(fault));
            None
        }
    }
}

fn check(job: &Job) {
    let Some((plugin, section)) = gate(job) else { return };
    let described = step(GATE[3], || {
        let metric = plugin.metric(&section).map_err(|fault| {
            match section.config.is_empty() && plugin.needs_config() {
                true => format!("{fault}; here --config '{{…}}' (or a file) gives it one"),
                false => fault,
            }
        })?;
        Ok((described(&metric), metric))
    });
    let Some(metric) = described else { return };
    let make =
        || plugin.metric(&section).map(|metric| Box::new(OnTrial(metric)) as Box<dyn Subject>);
    let trial = Trial { make: &make, check: &fits };
    for law in LAWS {
        step(law.name, || law.hold(&trial).map(|detail| (detail, ())));
    }
    step(SPEED, || Ok((speed(&metric)?, ())));
}

/// Loads the file, up to a plugin that describes itself.
fn gate(job: &Job) -> Option<(LonePlugin, MetricConfig)> {
    let file = step(GATE[0], || {
        let file = PluginFile::read(&job.file)?;
        Ok((format!("{} KiB, sha256 {}", file.size().div_ceil(1_024), file.sha256()), file))
    })?;
    step(GATE[1], || {
        let shake = file.handshake()?;
        let built = format!("tally-plugin {}, {}", shake.sdk, shake.rustc);
        Ok((
            format!(
                "interface {}, {}, panic = {}; {built}",
                shake.generation, shake.target, shake.panic
            ),
            (),
        ))
    })?;
    let plugin = step(GATE[2], || {
        let plugin = file.load(&job.private)?;
        let about = plugin.about();
        Ok((format!("{} {}, revision {}", about.name, about.version, about.revision), plugin))
    })?;
    let config = match serde_json::from_value(job.config.clone()) {
        Ok(config) => config,
        Err(fault) => {
            step(GATE[3], || {
                Err::<(String, ()), _>(format!(
                    "the configuration cannot be written as TOML: {fault}"
                ))
            });
            return None;
        }
    };
    Some((plugin, MetricConfig { config, ..MetricConfig::default() }))
}

fn described(metric: &LoneMetric) -> String {
    let description = metric.description();
    let cells: usize = description.tables.iter().map(|table| table.cells.len()).sum();
    let own = description
        .params_schema
        .get("properties")
        .and_then(Value::as_object)
        .map_or(0, |all| all.len());
    let time = if description.time { ", and those of the time axis" } else { "" };
    format!(
        "\"{}\": {} tables, {cells} cells, {own} params{time}",
        description.summary,
        description.tables.len()
    )
}

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    tally_engine::engine::fits_schema(schema, value)
}

/// A metric of a loaded file, as the test kit holds metrics to the laws.
struct OnTrial(LoneMetric);

impl Subject for OnTrial {
    fn describe(&self) -> Description {
        self.0.description().clone()
    }

    fn update(
        &self,
        _: &Description,
        columns: &Columns<'_>,
        buffer: &mut DeltaBuffer,
    ) -> Result<(), String> {
        self.0.update_columns(columns, buffer)
    }

    fn answer(&self, _: &[Table], ask: Ask, source: Source<'_>) -> Result<Reply, String> {
        self.0.answer(&ask, source)
    }
}

/// Wall time of `update`, the best of some rounds.
fn speed(metric: &LoneMetric) -> Result<String, String> {
    if !metric.needs_update() {
        return Ok("0 ns an event: no update is called, the host feeds all cells".into());
    }
    let of = metric.description();
    let mut random = Random(1);
    let mut events = random_events(&mut random, ROWS);
    add_properties(&mut random, &of.properties, &mut events);
    let best = as_columns(&events, &of.properties, |columns| {
        let mut best = u128::MAX;
        for _ in 0..ROUNDS {
            let mut buffer = DeltaBuffer::default();
            let begun = Instant::now();
            metric.update_columns(columns, &mut buffer)?;
            best = best.min(begun.elapsed().as_nanos());
        }
        Ok::<_, String>(best)
    })?;
    Ok(format!("{:.1} ns an event in update, {ROWS} at once", best as f64 / ROWS as f64))
}

fn answer(job: &Job, questions: &Questions) {
    let Some((plugin, section)) = gate(job) else { return };
    let answered = step(GATE[3], || {
        let metric = plugin.metric(&section)?;
        let golden = Golden::read(&questions.events, &questions.questions)?;
        Ok((String::new(), golden.answers(OnTrial(metric))?))
    });
    if let Some(answers) = answered {
        say(&Message::Answers(answers));
    }
}
