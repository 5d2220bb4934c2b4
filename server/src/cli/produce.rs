//! `tally produce`: made-up events or a file, to an engine or to Kafka.

use super::args::Produce;
use super::output::{lively, note, tame, thousands};
use super::stop::Stop;
use super::target::Target;
use super::{Failure, output, settings, start};
use crate::produce::generator::{Clock, Generator, GeneratorSettings, now_ms};
use crate::produce::http::HttpOutlet;
use crate::produce::log::LogOutlet;
use crate::produce::pointer::FieldPointers;
use crate::produce::replay::{Mapping, Replay};
use crate::produce::{Outcome, Outlet, Supply, pump};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::time::{Duration, Instant};
use tally_engine::config::Config;
use tally_engine::config::load::Loaded;
use tally_engine::engine::open_producer;

/// The rate if nothing bounds a run.
const USUAL_RATE: f64 = 200.0;

/// Without a rate, made-up events are spread over this time before now.
const SPREAD_MS: i64 = 3_600_000;

/// Faults printed one by one; the rest is counted.
const LISTED: u64 = 20;

pub(crate) fn run(args: &Produce) -> Result<(), Failure> {
    let loaded = settings::read(&args.config, None, None)?;
    let config = &loaded.config;
    output::log("warn");
    let stop = Stop::on_signals().map_err(Failure::Failed)?;
    let unbounded = args.count.is_none() && args.from.is_none();
    let rate = args.rate.or(unbounded.then_some(USUAL_RATE));
    let mut supply = supply(args, config, rate)?;
    let mut outlet = outlet(args, &loaded)?;
    let screen = Screen::new(args.count);
    let mut listed = 0;
    let begun = Instant::now();
    let outcome =
        pump(supply.as_mut(), outlet.as_mut(), args.count, rate, &stop, &mut |outcome, faults| {
            for fault in faults {
                if listed < LISTED {
                    screen.say(&format!("error: {}", tame(fault)));
                } else if listed == LISTED {
                    screen.say("error: further errors are only counted");
                }
                listed += 1;
            }
            screen.show(outcome);
        });
    screen.clear();
    close(args, &outcome, begun.elapsed(), unbounded)
}

fn supply(args: &Produce, config: &Config, rate: Option<f64>) -> Result<Box<dyn Supply>, Failure> {
    if let Some(file) = &args.from {
        let mapping = Mapping::new(&args.map, &args.alias).map_err(Failure::Usage)?;
        return Ok(Box::new(Replay::open(file, mapping, &config.events).map_err(Failure::Failed)?));
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    let clock = match (rate, args.count) {
        (None, Some(count)) => {
            Clock::Spread { start: now_ms() - SPREAD_MS, span_ms: SPREAD_MS, count }
        }
        _ => Clock::Now,
    };
    let settings = GeneratorSettings {
        seed,
        first: args.first,
        id_offset: 0,
        users: start::DEMO_USERS,
        products: start::DEMO_PRODUCTS,
        clock,
    };
    Ok(Box::new(
        Generator::new(settings, FieldPointers::new(&config.events.fields))
            .map_err(Failure::Failed)?,
    ))
}

/// Kafka where it is configured, unless the command line names an engine; else the engine that is
/// named, or the configured one.
fn outlet(args: &Produce, loaded: &Loaded) -> Result<Box<dyn Outlet>, Failure> {
    let failed = |error: crate::produce::OutletError| Failure::Failed(error.0);
    if args.url.is_none()
        && let Some(producer) =
            open_producer(&loaded.config).map_err(|error| Failure::Failed(error.to_string()))?
    {
        return Ok(Box::new(LogOutlet::new(producer)));
    }
    Ok(Box::new(HttpOutlet::open(engine(args, loaded)?.client()?).map_err(failed)?))
}

fn engine(args: &Produce, loaded: &Loaded) -> Result<Target, Failure> {
    // A flag that names a configuration goes before the environment.
    let asks = args.url.is_some() || args.config.file.is_none();
    if asks && let Some(target) = Target::named(args.url.as_deref())? {
        return Ok(target);
    }
    let listen = &loaded.config.server.listen;
    Target::listening(listen, loaded.file.as_deref())
        .ok_or_else(|| Failure::Failed("[server] listen takes any free port: give --url".into()))
}

fn close(
    args: &Produce,
    outcome: &Outcome,
    took: Duration,
    unbounded: bool,
) -> Result<(), Failure> {
    let (sent, acknowledged) = (outcome.sent, outcome.counts.acknowledged);
    let errors = outcome.counts.errors + outcome.bad_rows;
    let seconds = took.as_secs_f64();
    if args.json {
        let tenths = (seconds * 10.0).round() / 10.0;
        output::data(
            &json!({"sent": sent, "acknowledged": acknowledged, "errors": errors, "seconds": tenths}).to_string(),
        );
    } else {
        let (sent, acknowledged, errors) =
            (thousands(sent), thousands(acknowledged), thousands(errors));
        output::data(&format!(
            "sent {sent} · acknowledged {acknowledged} · errors {errors} · {seconds:.1} s"
        ));
    }
    if outcome.bad_rows > 0 {
        note(&format!("{} rows are not events and were not sent", thousands(outcome.bad_rows)));
    }
    match &outcome.broken {
        Some(broken) => Err(Failure::Failed(broken.clone())),
        None if errors > 0 => Err(Failure::Reported),
        None if outcome.interrupted && !unbounded => {
            Err(Failure::Failed("interrupted before the end; what was sent is acknowledged".into()))
        }
        None => Ok(()),
    }
}

/// The progress line on a terminal; nothing elsewhere.
struct Screen(Option<ProgressBar>);

impl Screen {
    fn new(count: Option<u64>) -> Screen {
        if !lively() {
            return Screen(None);
        }
        let (bar, template) = match count {
            Some(count) => (
                ProgressBar::new(count),
                "{bar:30} {human_pos}/{human_len} · {per_sec} · {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{human_pos} sent · {per_sec} · {elapsed}"),
        };
        // The templates are constants; if one is wrong, the default bar is shown.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Screen(Some(bar))
    }

    fn show(&self, outcome: &Outcome) {
        if let Some(bar) = &self.0 {
            bar.set_position(outcome.sent + outcome.bad_rows);
        }
    }

    fn say(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
