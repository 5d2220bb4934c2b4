//! Which parser reads a record best, and what decoding costs: `parsers [events] [rounds]`.
//!
//! Every candidate gets the same records (185 bytes, text ids, unique UUIDs) in interleaved rounds
//! of one process. The libraries parse into a struct of the five mapped fields that borrows where
//! it can, and nothing more; `decode` does all of Tally's work: size, UTF-8, scan, verdicts,
//! columns, keys of the event ids. That favours the libraries. It does not measure the source: the
//! records are in memory.

use serde::{Deserialize, Deserializer, de::Visitor};
use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;
use std::time::Instant;
use tally_engine::config::EventsConfig;
use tally_engine::decode::{Decoder, DedupeWindow};
use tally_engine::event::{EventBatch, Record};

const BATCH: usize = 2_048;
const WINDOW: u64 = 65_536;

/// What a library is asked for.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Id<'a>,
    #[serde(borrow)]
    product_id: Id<'a>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Option<Id<'a>>,
}

/// An integer or a text.
enum Id<'a> {
    Integer(i64),
    Text(Cow<'a, str>),
}

impl Id<'_> {
    fn size(&self) -> usize {
        match self {
            Id::Integer(integer) => *integer as usize,
            Id::Text(text) => text.len(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Id<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Id<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an integer or a text")
            }
            fn visit_i64<E>(self, value: i64) -> Result<Id<'de>, E> {
                Ok(Id::Integer(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Id<'de>, E> {
                Ok(Id::Integer(value as i64))
            }
            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Id<'de>, E> {
                Ok(Id::Text(Cow::Borrowed(value)))
            }
            fn visit_str<E>(self, value: &str) -> Result<Id<'de>, E> {
                Ok(Id::Text(Cow::Owned(value.into())))
            }
        }
        from.deserialize_any(Either)
    }
}

impl Typed<'_> {
    fn size(&self) -> usize {
        self.event_id.as_ref().map_or(0, |id| id.len())
            + self.user_id.size()
            + self.product_id.size()
            + self.event_type.len()
            + self.timestamp.as_ref().map_or(0, Id::size)
    }
}

/// One of the things measured: its name and what it does with the records once.
type Candidate<'a> = (&'static str, Box<dyn FnMut() -> usize + 'a>);

#[allow(clippy::print_stdout, reason = "the result")]
fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let count = args.next().transpose()?.unwrap_or(200_000);
    let rounds = args.next().transpose()?.unwrap_or(11);
    let payloads = payloads(count);
    let records: Vec<Record<'_>> = payloads
        .iter()
        .enumerate()
        .map(|(n, payload)| Record::new(n as u64, 1_800_000_000_000, Some(payload)))
        .collect();

    let mut candidates = candidates(&payloads, &records)?;
    let nanoseconds = measure(&mut candidates, rounds, count);
    let median = |of: &dyn Fn(usize) -> f64| {
        let mut values: Vec<f64> = (0..rounds).map(of).collect();
        values.sort_by(f64::total_cmp);
        values[rounds / 2]
    };
    println!(
        "{count} records of {} bytes, {rounds} interleaved rounds, medians",
        payloads.first().map_or(0, Vec::len)
    );
    println!("{:<18}{:>10}{:>12}", "", "ns/record", "x decode");
    let mut line = serde_json::Map::new();
    for (n, (name, _)) in candidates.iter().enumerate() {
        let taken = median(&|round| nanoseconds[n][round]);
        let ratio = median(&|round| nanoseconds[n][round] / nanoseconds[DECODE][round]);
        println!("{name:<18}{taken:>10.0}{ratio:>12.2}");
        line.insert(
            (*name).into(),
            serde_json::json!({"ns": (taken * 10.0).round() / 10.0, "ratio": (ratio * 1000.0).round() / 1000.0}),
        );
    }
    let window = median(&|round| nanoseconds[DECODE + 1][round] - nanoseconds[DECODE][round]);
    println!("{:<18}{window:>10.0}", "window alone");
    println!(
        "{}",
        serde_json::json!({"bench": "parsers", "records": count, "rounds": rounds, "window_ns": window.round(), "results": line})
    );
    Ok(())
}

/// Which candidate is ours without a dedupe window; the one with a window follows it.
const DECODE: usize = 4;

/// All that is measured. `records` are the payloads with offsets.
fn candidates<'a>(
    payloads: &'a [Vec<u8>],
    records: &'a [Record<'a>],
) -> anyhow::Result<Vec<Candidate<'a>>> {
    let valid = |payload: &&Vec<u8>| simdutf8::basic::from_utf8(payload).is_ok();
    let by_serde_json = |payload: &[u8]| {
        let text = simdutf8::basic::from_utf8(payload).ok()?;
        serde_json::from_str::<Typed<'_>>(text).ok().map(|typed| typed.size())
    };
    let by_sonic_rs = |payload: &[u8]| {
        let text = simdutf8::basic::from_utf8(payload).ok()?;
        sonic_rs::from_str::<Typed<'_>>(text).ok().map(|typed| typed.size())
    };
    let all: Vec<Candidate<'a>> = vec![
        ("utf8 check", Box::new(move || payloads.iter().filter(valid).count())),
        ("serde_json", Box::new(move || sum(payloads, by_serde_json))),
        ("sonic-rs", Box::new(move || sum(payloads, by_sonic_rs))),
        ("simd-json", Box::new(simd_json(payloads))),
        ("decode", Box::new(decode(records, 0)?)),
        ("decode + window", Box::new(decode(records, WINDOW)?)),
    ];
    Ok(all)
}

/// Nanoseconds per record of each candidate, round by round. The first round, which is left out,
/// warms up.
fn measure(candidates: &mut [Candidate<'_>], rounds: usize, records: usize) -> Vec<Vec<f64>> {
    let mut nanoseconds = vec![Vec::new(); candidates.len()];
    for round in 0..=rounds {
        for ((_, run), taken) in candidates.iter_mut().zip(&mut nanoseconds) {
            let start = Instant::now();
            black_box(run());
            if round > 0 {
                taken.push(start.elapsed().as_nanos() as f64 / records as f64);
            }
        }
    }
    nanoseconds
}

fn sum(payloads: &[Vec<u8>], parse: impl Fn(&[u8]) -> Option<usize>) -> usize {
    payloads.iter().filter_map(|payload| parse(payload)).sum()
}

/// simd-json writes into its input, so a record must be copied first, as it would have to be in the
/// engine.
fn simd_json(payloads: &[Vec<u8>]) -> impl FnMut() -> usize {
    let mut buffers = simd_json::Buffers::new(256);
    let mut copy = Vec::new();
    move || {
        let mut total = 0;
        for payload in payloads {
            copy.clear();
            copy.extend_from_slice(payload);
            total +=
                simd_json::serde::from_slice_with_buffers::<Typed<'_>>(&mut copy, &mut buffers)
                    .map_or(0, |typed| typed.size());
        }
        total
    }
}

fn decode<'a>(
    records: &'a [Record<'a>],
    window: u64,
) -> anyhow::Result<impl FnMut() -> usize + 'a> {
    let mut decoder = Decoder::new(&EventsConfig::default())?;
    let (mut batch, mut refused) = (EventBatch::default(), Vec::new());
    let mut window = DedupeWindow::new(window);
    let mut next = Vec::with_capacity(BATCH);
    let mut start = 0;
    Ok(move || {
        let mut rows = 0;
        for records in records.chunks(BATCH) {
            next.clear();
            // The same ids come again only beyond the window.
            next.extend(
                records.iter().map(|record| Record { offset: start + record.offset, ..*record }),
            );
            decoder.decode(0, &next, &mut window, 0, &mut batch, &mut refused);
            rows += batch.len();
        }
        start += (records.len() as u64).max(2 * WINDOW);
        assert!(rows == records.len() && refused.is_empty(), "every record is accepted");
        rows
    })
}

fn payloads(count: usize) -> Vec<Vec<u8>> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let types = ["view", "click", "add_to_cart", "buy", "wishlist", "share"];
    (0..count)
        .map(|n| {
            let ms = 1_700_000_000_000 + n as u64;
            let id = format!("{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}", ms >> 16, ms & 0xFFFF, next(4_096), next(4_096), next(1 << 48));
            let (user, product, kind, cents) = (next(100_000), next(10_000), types[next(6) as usize], next(10_000));
            let session = next(1 << 40);
            format!(
                r#"{{"event_id":"{id}","user_id":"u{user:07}","product_id":"p{product:06}","event_type":"{kind}","timestamp":{ms},"price":"{}.{:02}","session":"{session:010x}"}}"#,
                cents / 100,
                cents % 100
            )
            .into_bytes()
        })
        .collect()
}
