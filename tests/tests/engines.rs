//! Many engines on one topic and one Redis: every event counts once, whatever happens to engines, store and broker.
//!
//! `TALLY_SEED=n` repeats a run's events and faults as far as a real clock lets it; `TALLY_LONG=n` makes it n times as long;
//! `TALLY_PART="redis set back"` runs one part of it.
//!
//! That these tests can fail is shown: without the dedupe window what is sent twice is found to be doubled, an
//! acknowledged event that is not in the log is found to be lost, and so is what goes wrong in a Redis whose scripts look at
//! no fence, or move no offset (a proxy takes that out of them on their way).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says its seed")]

use tally_tests::chaos::seed;
use tally_tests::fleet::{Fault, Plan, run};
use tally_tests::kafka::Kafka;
use tally_tests::proxy::Change;

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

fn plan(engines: usize, faults: &[Fault], seed: u64) -> Plan {
    let long = std::env::var("TALLY_LONG").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    Plan { engines, config: String::new(), redis: &[], changes: &[], faults: faults.repeat(long), seed, lies: false }
}

/// One broker for all of it: starting one takes five seconds.
#[test]
fn many_engines() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let mut kafka = Kafka::start().unwrap();
    let part = std::env::var("TALLY_PART").ok();
    let left_out = |what: &str| part.as_ref().is_some_and(|part| part != what);
    let mut carry_out = |what: &str, plan: &Plan| {
        if left_out(what) {
            return None;
        }
        let report = run(&mut kafka, plan).unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {what}: {fault:#}"));
        println!("{what}: {report:?}");
        Some(report)
    };
    use Fault::{Broker, Cut, Halt, Kill, KillAll, Leave, Pause, RedisBack, RedisCrash, RedisEmpty};
    carry_out("engines", &plan(3, &[Kill, Leave, Kill, Pause, KillAll, Kill, Leave, Kill], seed));
    carry_out("redis", &Plan { redis: AOF, ..plan(2, &[RedisCrash, Cut, Halt, RedisCrash, Cut, RedisEmpty], seed) });
    carry_out("redis set back", &plan(2, &[RedisBack, Kill, RedisBack, RedisBack], seed));
    carry_out("broker", &plan(2, &[Broker, Kill], seed));
    // So small that buckets are full again and again, and split.
    let small = "[redis]\nmax_bucket_bytes = 65536\n".to_owned();
    let faults = [Kill, RedisBack, Leave, KillAll, RedisBack, Pause];
    let report = carry_out("buckets that split", &Plan { config: small, ..plan(3, &faults, seed) });
    assert!(report.is_none_or(|report| report.splits > 0), "no bucket was split");

    // Each must be found.
    let two = |faults: &[Fault]| plan(2, faults, 1);
    let broken = [
        ("doubled", Plan { config: "[events]\ndedupe_window = 0\n".into(), ..two(&[Kill, Kill]) }),
        ("lost", Plan { lies: true, ..two(&[Kill, Kill]) }),
        ("no fence", Plan { changes: &[NO_FENCE], ..two(&[Pause, Kill, KillAll, Pause, Kill, RedisBack, Pause]) }),
        ("no offset", Plan { changes: &[NO_OFFSET], ..two(&[Kill, KillAll]) }),
    ];
    for (what, plan) in broken {
        if left_out(what) {
            continue;
        }
        let fault = run(&mut kafka, &plan).err().map_or_else(String::new, |fault| format!("{fault:#}"));
        println!("{what}: {}", fault.lines().next().unwrap_or_default());
        assert!(!fault.is_empty(), "{what} was not found");
    }
}

/// Redis applies whatever comes.
const NO_FENCE: Change = ("if (is or '') ~= ARGV[at + 1] then differs", "if (is or '') == 'nothing at' then differs");

/// Redis keeps the frames and forgets where they end.
const NO_OFFSET: Change =
    ("call('HSET', state, ARGV[at], ARGV[at + 2])", "call('HGET', state, ARGV[at]              )");
