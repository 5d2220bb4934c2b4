//! Answers that take long, and such as never come: counting, other metrics and health go on, and
//! what a slow answer says is exact for the position that it states.

use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally_tests::client::{Answer, Client};
use tally_tests::poison::poison;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally, plugin};

/// One partition, so that a position is the number of events counted.
const CONFIG: &str = "[plugins]\ndir = \"plugins\"\n[log]\npartitions = 1\n";

const PATIENT: &str = "[server]\nevaluation_deadline_ms = 5000\n";

const LIMIT: Duration = Duration::from_secs(60);

/// How long a slow answer sleeps between two reads.
const SLEEP: u64 = 200;

/// Connections that ask for slow answers, over and over.
const ASKING: usize = 4;

/// Events of a post.
const POST: u64 = 500;

fn home(config: &str) -> Home {
    let home = Home::new(&format!("{CONFIG}{config}")).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::copy(plugin("event_frequencies").unwrap(), folder.join("event_frequencies.so")).unwrap();
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    home
}

fn events(from: u64) -> String {
    let line = |n: u64| {
        json!({"user_id": 1_000 + n % 97, "product_id": n % 89, "event_type": "view", "timestamp": 1_767_225_600_000 + n}).to_string()
            + "\n"
    };
    (from..from + POST).map(line).collect()
}

fn ask(client: &Client, metric: &str, params: &Value) -> Answer {
    client.evaluate(&json!({"name": metric, "params": params})).unwrap()
}

/// A slow answer: both of its reads are of the position that it states.
fn slow(client: &Client) {
    let answer = ask(client, "poison", &json!({"sleep_ms": SLEEP}));
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    let position = answer["meta"]["position"].as_str().unwrap();
    let counted: u64 = position.strip_prefix("0:").map_or(0, |offset| offset.parse().unwrap());
    for read in ["fed", "updated", "again"] {
        assert_eq!(answer["result"][read], counted, "{read}: {answer}");
    }
}

/// How something went that is done over and over.
#[derive(Default)]
struct Went {
    times: u64,
    longest: Duration,
}

/// Posts events and sees each post counted; asks another metric and for health; for so long.
fn go_on(client: &Client, counted: &AtomicU64, long: Duration) -> Went {
    let (begun, mut went) = (Instant::now(), Went::default());
    while begun.elapsed() < long {
        let step = Instant::now();
        let position = client.post_all(&events(counted.load(Ordering::Relaxed))).unwrap();
        let total = counted.fetch_add(POST, Ordering::Relaxed) + POST;
        assert_eq!(client.ask("event_frequencies", &json!({}), &position).unwrap()["total"], total);
        for path in ["/livez", "/readyz", "/api/metrics"] {
            let answer = client.get(path).unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
        went.times += 1;
        went.longest = went.longest.max(step.elapsed());
    }
    went
}

fn median(mut rates: Vec<u64>) -> u64 {
    rates.sort_unstable();
    rates[rates.len() / 2]
}

/// By turns with and without slow answers: what goes on goes on as before, and does not wait for
/// one.
fn slow_answers_hold_nothing_up(tally: &Tally) {
    let counted = AtomicU64::new(0);
    let client = Client::new(tally.address).unwrap();
    go_on(&client, &counted, Duration::from_millis(500));
    let (mut alone, mut beside, mut longest, asked) =
        (Vec::new(), Vec::new(), Vec::new(), AtomicU64::new(0));
    for _ in 0..5 {
        alone.push(go_on(&client, &counted, Duration::from_secs(1)).times);
        let done = AtomicBool::new(false);
        let went = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..ASKING)
                .map(|_| {
                    scope.spawn(|| {
                        let client = Client::new(tally.address).unwrap();
                        while !done.load(Ordering::Relaxed) {
                            slow(&client);
                            asked.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let went = go_on(&client, &counted, Duration::from_secs(1));
            done.store(true, Ordering::Relaxed);
            asking.into_iter().for_each(|asking| asking.join().unwrap());
            went
        });
        beside.push(went.times);
        longest.push(went.longest.as_millis() as u64);
    }
    let told = format!(
        "{alone:?} alone, {beside:?} beside slow answers; the longest steps {longest:?} ms"
    );
    assert!(asked.into_inner() > 20, "{told}");
    // Others use the same two cores: the medians of turns differ by some per cent. Whatever waited
    // for an answer would stand still for most of the time.
    assert!(median(beside) * 100 >= median(alone) * 80, "{told}");
    assert!(median(longest) < SLEEP, "{told}");
}

#[test]
fn slow_answers_hold_nothing_up_and_are_exact() {
    let _turn = crate::wait_for_turn();
    let home = home(PATIENT);
    let tally = home.start().unwrap();
    slow_answers_hold_nothing_up(&tally);
    tally.stop().unwrap();
}

#[test]
fn slow_answers_hold_nothing_up_where_the_store_is_shared() {
    let _turn = crate::wait_for_turn();
    let redis = Redis::start(&[]).unwrap();
    let mut home = home(&format!("{PATIENT}[store]\ncheckpoint_interval_ms = 20\n"));
    home.env("REDIS_URL", &redis.url());
    let tally = home.start().unwrap();
    slow_answers_hold_nothing_up(&tally);
    tally.stop().unwrap();
}

#[test]
fn answers_that_never_come_are_named_and_take_their_own_metrics_share_alone() {
    let _turn = crate::wait_for_turn();
    let home = home("[server]\nevaluation_deadline_ms = 1000\n");
    let tally = home.start().unwrap();
    let client = &tally.client;
    let counted = AtomicU64::new(0);
    go_on(client, &counted, Duration::from_millis(200));
    // More than may be under way at once.
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let answer =
                    ask(&Client::new(tally.address).unwrap(), "poison", &json!({"hangs": true}));
                let told = ["deadline_exceeded", "overloaded"]
                    .iter()
                    .any(|code| answer.text.contains(code));
                assert!([503, 504].contains(&answer.status) && told, "{}", answer.text);
            });
        }
    });
    assert_eq!(client.figure("tally_answers_stuck", "poison").unwrap(), 16.0);
    assert_eq!(client.figure("tally_answers_stuck", "event_frequencies").unwrap(), 0.0);
    // Nobody waits for what will not come.
    let begun = Instant::now();
    let refused = ask(client, "poison", &json!({"window": "1d"}));
    assert!(
        refused.status == 503 && refused.text.contains("--disable poison"),
        "{} {}",
        refused.status,
        refused.text
    );
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    go_on(client, &counted, Duration::from_secs(1));
    let log = || fs::read_to_string(home.path().join("stderr.log")).unwrap();
    let lines =
        |log: &str| log.lines().filter(|line| line.contains("answers have not returned")).count();
    let said = |_: &Client| if lines(&log()) == 1 { Ok(String::new()) } else { Err(log()) };
    client.until("the log says so", LIMIT, said).unwrap();
    go_on(client, &counted, Duration::from_secs(2));
    assert_eq!(lines(&log()), 1, "{}", log());
    let begun = Instant::now();
    tally.stop().unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "the stop waits for answers: {:?}",
        begun.elapsed()
    );
}
