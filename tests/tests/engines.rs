//! Many engines on one topic and one Redis: every event counts once, whatever happens to engines, store and broker.
//!
//! `TALLY_SEED=n` repeats a run's events and faults as far as a real clock lets it; `TALLY_LONG=n` makes it n times as long.
//!
//! That these tests can fail is shown: without the dedupe window what is sent twice is found to be doubled, and an
//! acknowledged event that is not in the log is found to be lost.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says its seed")]

use tally_tests::chaos::seed;
use tally_tests::fleet::{Fault, Plan, run};
use tally_tests::kafka::Kafka;

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

fn plan(engines: usize, faults: &[Fault], seed: u64) -> Plan {
    let long = std::env::var("TALLY_LONG").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    Plan { engines, config: String::new(), redis: &[], faults: faults.repeat(long), seed, lies: false }
}

/// One broker for all of it: starting one takes five seconds.
#[test]
fn many_engines() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let mut kafka = Kafka::start().unwrap();
    let mut carry_out = |what: &str, plan: &Plan| {
        let report = run(&mut kafka, plan).unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {what}: {fault:#}"));
        println!("{what}: {report:?}");
    };
    use Fault::{Broker, Kill, KillAll, Leave, Pause, RedisBack, RedisCrash, RedisEmpty};
    carry_out("engines", &plan(3, &[Kill, Leave, Kill, Pause, KillAll, Kill, Leave, Kill], seed));
    carry_out("redis", &Plan { redis: AOF, ..plan(2, &[RedisCrash, Kill, RedisCrash, RedisEmpty], seed) });
    carry_out("redis set back", &plan(2, &[RedisBack, Kill, RedisBack, RedisBack], seed));
    carry_out("broker", &plan(2, &[Broker, Kill], seed));

    let doubled = Plan { config: "[events]\ndedupe_window = 0\n".into(), ..plan(2, &[Kill, Kill], 1) };
    let fault = format!("{:#}", run(&mut kafka, &doubled).unwrap_err());
    assert!(fault.contains("counted wrong"), "{fault}");
    let lost = Plan { lies: true, ..plan(2, &[Kill, Kill], 1) };
    let fault = format!("{:#}", run(&mut kafka, &lost).unwrap_err());
    assert!(fault.contains("counted wrong"), "{fault}");
}
