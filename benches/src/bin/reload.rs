//! What an engine grows by when a plugin file is replaced a thousand times under it.
//!
//! `reload` starts the built `tally` (embedded log, `event_frequencies` and `products_popularity`),
//! posts some hundred events a second, and replaces the file of `event_frequencies` again and
//! again, each time waiting until the new code is called: first by turns with the same few
//! contents, which are loaded once each, then each time with another content, which stays in
//! memory. Contents differ in bytes behind the shared object, so that code, revision and size stay
//! the same. Both metrics must say what was posted in the end.
//!
//! There is no goal beyond: nothing grows where nothing new is loaded, descriptors and copies on
//! disk never do.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally_benches::engine;
use tally_benches::measure;
use tally_tests::client::Client;
use tally_tests::footprint::{Footprint, Replaced, footprint};
use tally_tests::tally::{Home, Tally};

/// Growth of an engine by replaced plugin files.
#[derive(Parser)]
struct Args {
    /// Times that the file is replaced, in each of both parts
    #[arg(long, default_value_t = 1_000)]
    swaps: u64,
    /// Contents by turns in the first part
    #[arg(long, default_value_t = 4)]
    contents: u64,
}

const CONFIG: &str = "[plugins]\ndir = \"plugins\"\n[store]\ncheckpoint_interval_ms = 200\n[server]\nevaluation_deadline_ms = 10000\n";

fn main() -> Result<()> {
    let args = Args::parse();
    let beside = engine::plugins()?;
    let mut home = Home::new(CONFIG)?;
    let (bin, folder) = (home.path().join("bin"), home.path().join("plugins"));
    for folder in [&bin, &folder] {
        fs::create_dir(folder)?;
    }
    // Alone, so that no plugins lie beside it.
    fs::copy(beside.join("tally"), bin.join("tally"))?;
    home.use_binary(bin.join("tally"));
    for name in ["event_frequencies", "products_popularity"] {
        fs::copy(beside.join(format!("lib{name}.so")), folder.join(format!("{name}.so")))?;
    }
    let tally = home.start()?;
    let (done, posted) = (AtomicBool::new(false), AtomicU64::new(0));
    let parts = std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(Client::new(tally.address)?, &done, &posted));
        let parts = replace(&args, &home, &tally);
        done.store(true, Ordering::Relaxed);
        let end = producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        for name in ["event_frequencies", "products_popularity"] {
            let total = tally.client.ask(name, &json!({}), &end)?["total"].clone();
            ensure!(
                total == posted.load(Ordering::Relaxed),
                "wrong: {name} counts {total} of {posted:?}"
            );
        }
        parts
    })?;
    tally.stop()?;
    report(&args, &parts, posted.load(Ordering::Relaxed));
    Ok(())
}

/// Posts twenty events every 50 ms; the position after the last.
fn produce(client: Client, done: &AtomicBool, posted: &AtomicU64) -> Result<String> {
    let mut end = String::new();
    while !done.load(Ordering::Relaxed) {
        let from = posted.load(Ordering::Relaxed);
        let event = |n: u64| {
            json!({"event_id": n.to_string(), "user_id": n % 977, "product_id": n % 499, "event_type": "view"})
                .to_string()
        };
        end = client.post_all(&(from..from + 20).map(|n| event(n) + "\n").collect::<String>())?;
        posted.store(from + 20, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(end)
}

/// What one part did.
struct Part {
    name: String,
    /// Before it and after it.
    footprints: [Footprint; 2],
    /// How long each replacement took until its code was called.
    took_ms: Vec<f64>,
}

fn replace(args: &Args, home: &Home, tally: &Tally) -> Result<Vec<Part>> {
    let data = home.path().join(".tally");
    let mut file =
        Replaced::new(&home.path().join("plugins/event_frequencies.so"), "event_frequencies")?;
    // Whatever a first time costs.
    (0..args.contents).try_for_each(|number| file.swap(tally, number))?;
    let mut part = |name: String, content: &dyn Fn(u64) -> u64| -> Result<Part> {
        let before = footprint(tally, &data)?;
        let mut took_ms = Vec::new();
        for n in 0..args.swaps {
            let begun = Instant::now();
            file.swap(tally, content(n))?;
            took_ms.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(Part { name, footprints: [before, footprint(tally, &data)?], took_ms })
    };
    let (same, contents) = (format!("{} contents by turns", args.contents), args.contents);
    Ok(vec![
        part(same, &|n| n % contents)?,
        part("another content each time".into(), &|n| 1_000_000 + n)?,
    ])
}

fn report(args: &Args, parts: &[Part], posted: u64) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for Part { name, footprints: [before, after], took_ms } in parts {
        let grown = |of: fn(&Footprint) -> u64| of(after) as i64 - of(before) as i64;
        let mib = |bytes: i64| format!("{:+.1}", bytes as f64 / f64::from(1 << 20));
        let (resident, anonymous, mapped) =
            (grown(|f| f.resident), grown(|f| f.anonymous), grown(|f| f.mapped));
        let each = anonymous as f64 / args.swaps as f64 / 1_024.0;
        let (mappings, descriptors) = (grown(|f| f.mappings), grown(|f| f.descriptors));
        rows.push(vec![
            name.clone(),
            format!("{:+}", grown(|f| f.loaded)),
            mib(resident),
            format!("{} ({each:.0} KiB each)", mib(anonymous)),
            mib(mapped),
            format!("{mappings:+} of {}", after.mappings),
            format!("{descriptors:+} of {}", after.descriptors),
            after.copies.to_string(),
            measure::spread(took_ms, 0),
        ]);
        lines.push(json!({"part": name, "loaded": grown(|f| f.loaded), "resident": resident, "anonymous": anonymous,
            "mapped": mapped, "mappings": mappings, "descriptors": descriptors, "copies": after.copies,
            "took_ms": measure::median(took_ms)}));
    }
    println!("{} replacements each, {posted} events posted meanwhile; growth", args.swaps);
    let header = [
        "contents",
        "loaded",
        "resident, MiB",
        "of it anonymous, MiB",
        "mapped plugin files, MiB",
        "mappings",
        "descriptors",
        "copies on disk",
        "until it is called, ms",
    ];
    let line: Value = json!({"bench": "reload", "swaps": args.swaps, "results": lines});
    measure::print(&header, &rows, &line);
}
