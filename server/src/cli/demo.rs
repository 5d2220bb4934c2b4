//! `tally demo`: the embedded log, store and catalogue, fed by the generator.

use super::args::Demo;
use super::open;
use super::output::{begin, data, tame};
use super::run::{DRAIN, closing, ready};
use super::stop::Stop;
use super::{Failure, output, settings, start};
use crate::produce::Outgoing;
use crate::produce::generator::{Clock, Generator, GeneratorSettings, now_ms};
use crate::produce::pace::Pace;
use crate::produce::pointer::FieldPointers;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_engine::config::EventsConfig;
use tally_engine::engine::Engine;

/// How often events are made.
const TICK: Duration = Duration::from_millis(20);

/// Most events of one append.
const BATCH: u64 = 1_000;

pub(crate) fn run(args: &Demo) -> Result<(), Failure> {
    let begun = Instant::now();
    let config = settings::defaults(args.listen, args.data_dir.as_deref())?;
    output::log("warn");
    let stop = Stop::on_signals().map_err(Failure::Failed)?;
    let (events, folder) = (config.events.clone(), config.store.data_dir.clone());
    let mut generator = generator(args.seed, &events)?;
    let started = start::start(config, None, &args.disable, Some(args.seed), &stop)?;
    let folder = if folder.is_relative() {
        format!("./{}", folder.display())
    } else {
        folder.display().to_string()
    };
    let page = open::page_url(started.address);
    data(&format!("{page}  the page: what is counted, live (--open opens it)"));
    data(&format!(
        "tally {}  demo: embedded log, store and catalogue in {folder} (nothing else needed)",
        env!("CARGO_PKG_VERSION")
    ));
    banner(args, &started);
    let (engine, feeding, rate) = (started.engine.clone(), stop.clone(), args.rate);
    let feeder = std::thread::Builder::new().name("demo".into()).spawn(move || {
        let _seen = feeding.on_panic();
        feed(&engine, &mut generator, rate, &feeding);
    });
    let feeder =
        feeder.map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
    let (limit, since) = (args.duration.unwrap_or(Duration::MAX), Instant::now());
    ready(&started, begun, &stop, limit);
    if args.open && !stop.asked() {
        open::open(&page);
    }
    stop.wait(limit.saturating_sub(since.elapsed()));
    stop.ask();
    begin("stopping… ");
    // The feeder holds the engine until its last append is answered.
    let fed = feeder.join();
    closing(&started.stop(DRAIN)?);
    fed.map_err(|_| Failure::Failed("the generator failed; please report it".into()))
}

fn generator(seed: u64, events: &EventsConfig) -> Result<Generator, Failure> {
    // Ids are numbered from the current microsecond on: a second demo with the same seed makes new
    // events, not duplicates.
    let id_offset = u64::try_from(now_ms()).unwrap_or_default().saturating_mul(1_000);
    let settings = GeneratorSettings {
        seed,
        first: 0,
        id_offset,
        users: start::DEMO_USERS,
        products: start::DEMO_PRODUCTS,
        clock: Clock::Now,
    };
    Generator::new(settings, FieldPointers::new(&events.fields)).map_err(Failure::Failed)
}

fn banner(args: &Demo, started: &start::Started) {
    let metrics = started.engine.metrics();
    let plugins: Vec<String> =
        metrics.iter().map(|metric| tame(&format!("{} {}", metric.name, metric.version))).collect();
    let plugins = if plugins.is_empty() {
        "none found: copy plugin files (.so) into ./plugins and start again".into()
    } else {
        plugins.join(" · ")
    };
    data(&format!("  plugins    {plugins}"));
    for refused in started.engine.rejected() {
        data(&tame(&format!("  refused    {}: {}", refused.file, refused.reason)));
    }
    data(&format!(
        "  events     {}/s, seed {}            (--rate, --seed, --duration)",
        args.rate, args.seed
    ));
    data(&format!("  API        http://{}/api/metrics", started.address));
    let asked =
        metrics.iter().find(|metric| metric.name == "event_frequencies").or(metrics.first());
    if let Some(metric) = asked {
        let address = started.address;
        data(&format!(
            "  try        curl -s {address}/api/metrics --json '{{\"name\":\"{}\",\"params\":{{}}}}'",
            metric.name
        ));
    }
    data("  stop       Ctrl-C");
}

/// Appends at the rate until it is stopped. Events that the log does not accept are sent again:
/// events have ids, so none counts twice.
fn feed(engine: &Arc<Engine>, generator: &mut Generator, rate: f64, stop: &Stop) {
    if rate == 0.0 {
        return;
    }
    let mut pace = Pace::start(rate);
    while !stop.asked() {
        let due = pace.due().min(BATCH);
        let events: Vec<Outgoing> = (0..due).map(|_| generator.make()).collect();
        let lines: Vec<&[u8]> = events.iter().map(|event| event.json.as_slice()).collect();
        let mut pause = Duration::from_millis(100);
        while !lines.is_empty() {
            match engine.append(&lines) {
                Ok(appended) => {
                    if let Some((_, reason)) = appended.rejected.first() {
                        tracing::warn!(
                            rejected = appended.rejected.len(),
                            reason,
                            "made-up events were refused"
                        );
                    }
                    break;
                }
                Err(error) => tracing::warn!(%error, "the log accepts no events; retrying"),
            }
            if stop.asked() {
                return;
            }
            stop.wait(pause);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        pace.took(due);
        if pace.due() == 0 {
            stop.wait(pace.until_next().max(TICK));
        }
    }
}
