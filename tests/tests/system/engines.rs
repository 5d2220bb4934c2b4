//! Many engines on one topic and one Redis: every event counts once, whatever happens to engines,
//! store and broker.
//!
//! `TALLY_SEED=n` repeats a run's events and faults as far as a real clock lets it;
//! `TALLY_PART="redis set back"` runs one part of it. The long form is `src/bin/faults.rs`.
//!
//! That these tests can fail is shown: without the dedupe window what is sent twice is found to be
//! doubled, an acknowledged event that is not in the log is found to be lost, and so is what goes
//! wrong in a Redis whose scripts look at no fence, or move no offset (a proxy takes that out of
//! them on their way).
#![allow(clippy::print_stdout, reason = "measurements and seeds are printed")]

use tally_tests::chaos::seed;
use tally_tests::fleet::{Fault, Place, Plan, run};
use tally_tests::kafka::Kafka;
use tally_tests::points;
use tally_tests::proxy::Change;

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

const SHARED: Place = Place::Shared(&[]);

/// One broker for all of it: starting one takes five seconds.
#[test]
fn many_engines() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let mut kafka = Kafka::behind_proxy().unwrap();
    let part = std::env::var("TALLY_PART").ok();
    let left_out = |what: &str| part.as_ref().is_some_and(|part| part != what);
    let mut carry_out = |what: &str, plan: &Plan| {
        if left_out(what) {
            return None;
        }
        let report = run(Some(&mut kafka), plan)
            .unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {what}: {fault:#}"));
        println!("{what}: {report:?}");
        assert_eq!((report.lost, report.doubled), (0, 0), "TALLY_SEED={seed}: {what}");
        Some(report)
    };
    use Fault::{
        Broker, Cut, Halt, KafkaCut, KafkaHalt, KafkaReset, Kill, KillAll, KillStarting, Leave,
        Pause,
    };
    use Fault::{RedisBack, RedisCrash, RedisEmpty, Reset};
    let plan = |engines, faults: &[Fault]| Plan::new(engines, SHARED, faults, seed);
    carry_out("engines", &plan(3, &[Kill, Leave, KillStarting, Pause, KillAll, Kill, Leave, Kill]));
    let redis = [RedisCrash, Cut, Halt, RedisCrash, Reset, RedisEmpty];
    carry_out("redis", &Plan { place: Place::Shared(AOF), ..plan(2, &redis) });
    carry_out("redis set back", &plan(2, &[RedisBack, Kill, RedisBack, RedisBack]));
    carry_out("broker", &plan(2, &[Broker, KafkaCut, KafkaHalt, KafkaReset, Kill]));
    // So small that buckets are full again and again, and split.
    let small = "[redis]\nmax_bucket_bytes = 65536\n".to_owned();
    let faults = [Kill, RedisBack, Leave, KillAll, RedisBack, Pause];
    let report =
        carry_out("buckets that split", &Plan { config: small, load: 30_000, ..plan(3, &faults) });
    assert!(report.is_none_or(|report| report.splits > 0), "no bucket was split");

    // Each must be found.
    let two = |faults: &[Fault]| Plan::new(2, SHARED, faults, 1);
    let broken = [
        ("doubled", Plan { config: "[events]\ndedupe_window = 0\n".into(), ..two(&[Kill, Kill]) }),
        ("lost", Plan { lies: true, ..two(&[Kill, Kill]) }),
        (
            "no fence",
            Plan {
                changes: &[NO_FENCE],
                ..two(&[Pause, Kill, KillAll, Pause, Kill, RedisBack, Pause])
            },
        ),
        ("no offset", Plan { changes: &[NO_OFFSET], ..two(&[Kill, KillAll]) }),
    ];
    for (what, plan) in broken {
        if left_out(what) {
            continue;
        }
        let fault = run(Some(&mut kafka), &plan)
            .err()
            .map_or_else(String::new, |fault| format!("{fault:#}"));
        println!("{what}: {}", fault.lines().next().unwrap_or_default());
        assert!(!fault.is_empty(), "{what} was not found");
    }
}

/// Each moment at which an engine may end, beside another that goes on; and a commit that is late
/// for certain.
#[test]
fn an_end_at_each_moment_of_the_protocol() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let mut kafka = Kafka::start().unwrap();
    let trials = points::beside_another(&mut kafka, 1, seed);
    println!("{:?}", trials.unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {fault:#}")));
    let late = points::late_commit(&mut kafka, 2, seed);
    println!("{:?}", late.unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {fault:#}")));
}

/// Redis applies whatever comes.
const NO_FENCE: Change =
    ("if (is or '') ~= ARGV[at + 1] then differs", "if (is or '') == 'nothing at' then differs");

/// Redis keeps the frames and forgets where they end.
const NO_OFFSET: Change =
    ("call('HSET', state, ARGV[at], ARGV[at + 2])", "call('HGET', state, ARGV[at]              )");
