//! Who watches what, what is published, and the bounds of it: without a metric, and with threads
//! that find none.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::hub::Evaluation;
use super::round::contained;
use super::same::{says_the_same, word};
use super::threads::{restarted, start_at};
use super::*;
use crate::config::LiveConfig;
use crate::engine::History;
use crate::engine::answer_slots::HUNG;
use crate::engine::asking::Asking;
use crate::event::Position;
use crate::memory::Share;
use crate::query::live::{LiveOutcome, Walked};
use crate::state::Reading;
use serde_json::{Map, json};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use tally_plugin::ask::Warning;

/// A thread that evaluates, by number.
const THREAD: u64 = 1;

/// Answers of one revision have one schema.
static SCHEMA: LazyLock<Arc<Value>> = LazyLock::new(Arc::default);

fn asking() -> Asking {
    Asking {
        catalog: Arc::default(),
        view: Arc::default(),
        status: Arc::default(),
        shared: false,
        answering: Arc::default(),
        deadline: Duration::from_millis(250),
    }
}

fn hub(config: &LiveConfig, room: u64) -> Arc<LiveHub> {
    Arc::new(LiveHub::new(&asking(), config, Arc::new(Share::new(room)), Box::new(|| 0)))
}

fn watch(hub: &Arc<LiveHub>, n: u64, pace: Duration) -> Result<LiveQuestion, EvaluateError> {
    let params: Map<String, Value> = [("n".to_owned(), json!(n))].into_iter().collect();
    hub.watch("m", params, pace)
}

fn answer(result: &str) -> Evaluated {
    Evaluated {
        result: result.into(),
        result_schema: SCHEMA.clone(),
        window: (None, None),
        position: Position::default(),
        as_of: 0,
        version: "1.0.0".into(),
        revision: 1,
        history: History { complete: true, from: None },
        warnings: Vec::new(),
        validity: None,
    }
}

/// Evaluates what is due, at once.
fn evaluate(hub: &LiveHub, outcome: &Result<Evaluated, EvaluateError>) -> usize {
    let round = hub.take(THREAD).unwrap();
    for (question, _) in &round.questions {
        assert!(hub.begin(THREAD, *question, Instant::now() + Duration::from_secs(60)));
        let live = LiveOutcome { version: 1, failed: outcome.is_err(), ..LiveOutcome::default() };
        let done = Evaluation { outcome: outcome.clone(), live };
        assert!(hub.finish(THREAD, *question, Some(done)));
    }
    hub.end_round(THREAD);
    round.questions.len()
}

/// Something unknown comes to the metric.
fn wake(hub: &LiveHub, version: u64) {
    let hits = Vec::new();
    let walked = Walked { version, reading: Reading::Unknown, hits, coarser: false };
    hub.with_machine(|machine| machine.moved("m", &walked, Instant::now()));
}

/// The outcome of what is ready; `None`: it is not.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn result(answer: &LiveAnswer) -> String {
    answer.outcome.as_ref().map_or_else(|fault| word(fault).into(), |of| of.result.to_string())
}

#[test]
fn so_many_questions_are_watched_and_no_more() {
    let hub = hub(&LiveConfig { questions: 2, ..LiveConfig::default() }, 1 << 20);
    let first = watch(&hub, 1, Duration::ZERO).unwrap();
    let second = watch(&hub, 2, Duration::ZERO).unwrap();
    let Err(EvaluateError::Overloaded(why)) = watch(&hub, 3, Duration::ZERO) else {
        panic!("three are watched")
    };
    assert!(why.contains("[live] questions"), "{why}");
    let again = watch(&hub, 2, Duration::ZERO).unwrap();
    assert_eq!((&**first.canonical(), again.canonical()), ("{\"n\":1}", second.canonical()));
    assert_eq!(hub.figures().0, 2);
    drop(second);
    assert!(watch(&hub, 3, Duration::ZERO).is_err(), "somebody else watches it");
    drop(again);
    let third = watch(&hub, 3, Duration::ZERO).unwrap();
    drop((first, third));
    assert_eq!(hub.figures().0, 0);
}

#[test]
fn nobody_is_told_more_often_than_min_interval_ms() {
    let config = LiveConfig { min_interval_ms: 40_000, ..LiveConfig::default() };
    let hub = hub(&config, 1 << 20);
    let question = watch(&hub, 1, Duration::ZERO).unwrap();
    let begun = Instant::now();
    evaluate(&hub, &Ok(answer("1")));
    wake(&hub, 2);
    let next = |hub: &LiveHub| hub.with_machine(|machine| machine.next_ready()).unwrap();
    let least = Duration::from_secs(40);
    assert!(next(&hub) >= begun + least && next(&hub) < begun + least * 2);
    question.set_pace(Duration::from_secs(3_600));
    assert!(next(&hub) >= begun + Duration::from_secs(3_600));
    question.set_pace(Duration::from_millis(1));
    assert!(next(&hub) >= begun + least && next(&hub) < begun + least * 2);
    question.set_pace(Duration::MAX);
    assert!(next(&hub) > begun + least);
}

#[test]
fn an_update_says_something_new_and_the_newest_wins() {
    let hub = hub(&LiveConfig { min_interval_ms: 0, ..LiveConfig::default() }, 1 << 20);
    let mut question = watch(&hub, 1, Duration::ZERO).unwrap();
    assert!(question.latest().is_none() && ready(question.changed()).is_none());
    assert_eq!(evaluate(&hub, &Ok(answer("1"))), 1);
    let first = ready(question.changed()).flatten().unwrap();
    assert_eq!((first.number, result(&first)), (1, "1".to_owned()));
    assert!(ready(question.changed()).is_none(), "it is known");
    wake(&hub, 2);
    let later = Evaluated { as_of: 5, ..answer("1") };
    assert_eq!(evaluate(&hub, &Ok(later)), 1);
    assert!(ready(question.changed()).is_none(), "it says the same");
    // Two updates, of which it takes the newer.
    for (version, text) in [(3, "2"), (4, "3")] {
        wake(&hub, version);
        evaluate(&hub, &Ok(answer(text)));
    }
    let newest = ready(question.changed()).flatten().unwrap();
    assert_eq!((newest.number, result(&newest)), (3, "3".to_owned()));
    assert!(ready(question.changed()).is_none());
    // Another one who watches gets the last one at once.
    let mut other = watch(&hub, 1, Duration::ZERO).unwrap();
    assert_eq!(result(&ready(other.changed()).flatten().unwrap()), "3");
    let (publisher, mut alone) = live_question("{}");
    assert_eq!(&**alone.canonical(), "{}");
    publisher.publish(newest);
    assert!(ready(alone.changed()).flatten().is_some());
    drop(publisher);
    assert!(matches!(ready(alone.changed()), Some(None)));
}

#[test]
fn a_fault_is_told_once_and_tried_again() {
    let hub = hub(&LiveConfig::default(), 1 << 20);
    let mut question = watch(&hub, 1, Duration::ZERO).unwrap();
    let fault = |done| Err(EvaluateError::Backfilling { done });
    evaluate(&hub, &fault(0.1));
    assert_eq!(result(&ready(question.changed()).flatten().unwrap()), "backfilling");
    let next = hub.with_machine(|machine| machine.next_ready());
    assert!(next.is_some_and(|next| next > Instant::now()), "a second later");
    evaluate(&hub, &fault(0.9));
    assert!(ready(question.changed()).is_none(), "it goes on, which is nothing new");
    evaluate(&hub, &Ok(answer("1")));
    assert_eq!(result(&ready(question.changed()).flatten().unwrap()), "1");
}

#[test]
fn answers_take_their_share_of_memory_and_no_more() {
    let hub = hub(&LiveConfig { min_interval_ms: 0, ..LiveConfig::default() }, 1_000);
    let questions = [1, 2].map(|n| watch(&hub, n, Duration::ZERO).unwrap());
    let told = || questions.each_ref().map(|of| of.latest().map(|of| result(&of)).unwrap());
    assert_eq!(evaluate(&hub, &Ok(answer(&"x".repeat(600)))), 2);
    assert_eq!(told(), ["x".repeat(600), "overloaded".into()]);
    wake(&hub, 2);
    // The first at once, the second when it is tried again.
    assert_eq!(evaluate(&hub, &Ok(answer("y"))), 1);
    assert_eq!(evaluate(&hub, &Ok(answer("y"))), 1);
    assert_eq!(told(), ["y", "y"]);
    // One that grows finds room in the place of the one before.
    for (version, length) in [(3, 400), (4, 450)] {
        wake(&hub, version);
        assert_eq!(evaluate(&hub, &Ok(answer(&"z".repeat(length)))), 2);
        assert_eq!(told(), [(); 2].map(|()| "z".repeat(length)));
    }
    // But not while somebody has that.
    let (sent, next) = (questions[0].latest(), "w".repeat(450));
    wake(&hub, 5);
    assert_eq!(evaluate(&hub, &Ok(answer(&next))), 2);
    assert_eq!(told(), ["overloaded".to_owned(), next.clone()]);
    drop(sent);
    assert_eq!(evaluate(&hub, &Ok(answer(&next))), 1);
    assert_eq!(told(), [next.clone(), next]);
}

#[test]
fn a_thread_that_does_not_come_back_is_given_up() {
    let hub = hub(&LiveConfig::default(), 1 << 20);
    let mut questions = [1, 2].map(|n| watch(&hub, n, Duration::ZERO).unwrap());
    let round = hub.take(THREAD).unwrap();
    let [(hangs, _), (waits, _)] = &*round.questions else { panic!("{round:?}") };
    assert!(hub.begin(THREAD, *hangs, Instant::now()));
    assert_eq!(hub.give_up_hung(), 0, "it may come");
    let past = Instant::now().checked_sub(HUNG * 2).unwrap();
    assert!(hub.begin(THREAD, *hangs, past));
    assert_eq!((hub.give_up_hung(), hub.give_up_hung()), (1, 0));
    assert_eq!(result(&questions[0].latest().unwrap()), "deadline_exceeded");
    let next = hub.take(THREAD + 1).unwrap();
    assert_eq!(next.questions.iter().map(|(n, _)| *n).collect::<Vec<u64>>(), [*waits]);
    let done = Evaluation { outcome: Ok(answer("late")), live: LiveOutcome::default() };
    assert!(!hub.finish(THREAD, *hangs, Some(done)), "what it found is void");
    hub.came_back();
    assert!(ready(questions[0].changed()).flatten().is_some());
    assert!(ready(questions[0].changed()).is_none());
}

/// Where no more threads are replaced, others do what the next one that hangs had taken.
#[test]
fn what_a_thread_took_that_is_not_given_up_is_not_lost() {
    let hub = hub(&LiveConfig::default(), 1 << 20);
    let past = Instant::now().checked_sub(HUNG * 2).unwrap();
    let mut watched = Vec::new();
    for thread in 0..16 {
        watched.push(watch(&hub, thread, Duration::ZERO).unwrap());
        let round = hub.take(thread).unwrap();
        assert!(hub.begin(thread, round.questions[0].0, past));
    }
    watched.extend([100, 101].map(|n| watch(&hub, n, Duration::ZERO).unwrap()));
    let round = hub.take(16).unwrap();
    let [(hangs, _), (waits, _)] = &*round.questions else { panic!("{round:?}") };
    assert!(hub.begin(16, *hangs, past));
    assert_eq!((hub.give_up_hung(), hub.give_up_hung()), (16, 0));
    let next = hub.take(17).unwrap();
    assert_eq!(next.questions.iter().map(|(n, _)| *n).collect::<Vec<u64>>(), [*waits]);
    // It comes back, and goes on without what others took.
    let done = Evaluation { outcome: Ok(answer("late")), live: LiveOutcome::default() };
    assert!(hub.finish(16, *hangs, Some(done)));
    assert!(!hub.begin(16, *waits, Instant::now()) && hub.begin(17, *waits, Instant::now()));
}

#[test]
fn what_a_panic_ends_begins_anew_and_loses_nothing() {
    let hub = hub(&LiveConfig::default(), 1 << 20);
    let question = watch(&hub, 1, Duration::ZERO).unwrap();
    let mut panics = 2;
    restarted(|| {
        hub.end_round(THREAD);
        if panics > 0 {
            panics -= 1;
            let round = hub.take(THREAD).unwrap();
            assert!(hub.begin(THREAD, round.questions[0].0, Instant::now()));
            panic!("outside of an evaluation");
        }
        evaluate(&hub, &Ok(answer("1")));
    });
    assert_eq!(result(&question.latest().unwrap()), "1");
}

#[test]
fn the_newest_answer_may_be_taken_again_and_one_that_made_room_is_waited_for() {
    let (publisher, mut question) = live_question("{}");
    let publish = |text: &str| {
        publisher.publish(Arc::new(LiveAnswer::new(1, Ok(answer(text)), Instant::now())));
    };
    assert!(ready(question.newest()).is_none(), "nothing was published");
    publish("1");
    for _ in 0..2 {
        assert_eq!(result(&ready(question.newest()).flatten().unwrap()), "1");
    }
    assert!(ready(question.changed()).is_none(), "it is not new any more");
    publisher.forget();
    assert!(ready(question.newest()).is_none(), "the engine runs: the next one is waited for");
    publish("2");
    assert_eq!(result(&ready(question.newest()).flatten().unwrap()), "2");
    drop(publisher);
    assert!(ready(question.newest()).unwrap().is_none(), "the engine has stopped");
}

#[test]
fn a_panic_is_an_outcome() {
    let done = contained(|| -> Result<u8, EvaluateError> { panic!("in the engine's own code") });
    assert!(matches!(done, Err(EvaluateError::PluginFailed(why)) if why.contains("internal")));
    assert!(matches!(contained(|| Ok(7)), Ok(7)));
}

#[test]
fn words_for_people_and_positions_are_nothing_new() {
    let of = |warnings: Vec<Warning>| Ok(Evaluated { warnings, ..answer("1") });
    let since = |time: &str, detail: &str| {
        vec![Warning::new("counting_stalled", detail).with("since", time)]
    };
    let answers = [
        of(since("10:00", "for 5 s")),
        of(since("10:00", "for 6 s")),
        of(since("10:01", "for 5 s")),
        of(Vec::new()),
        Err(EvaluateError::Backfilling { done: 0.1 }),
        Err(EvaluateError::Backfilling { done: 0.2 }),
        Err(EvaluateError::PluginFailed("x".into())),
    ];
    for (a, b, same) in
        [(0, 1, true), (0, 2, false), (0, 3, false), (3, 4, false), (4, 5, true), (4, 6, false)]
    {
        assert_eq!(says_the_same(&answers[a], &answers[b]), same, "{a} {b}");
        assert!(says_the_same(&answers[a], &answers[a]));
    }
    let moved = |window| Ok(Evaluated { window, ..answer("1") });
    assert!(!says_the_same(&moved((Some(0), None)), &moved((Some(60_000), None))));
    let other_code = Ok(Evaluated { result_schema: Arc::default(), ..answer("1") });
    assert!(!says_the_same(&answers[3], &other_code));
}

/// Threads evaluate what is watched, tell what they find, and end with everybody who watches.
#[test]
fn threads_end_and_so_does_what_is_watched() {
    let room = Arc::new(Share::new(1 << 20));
    let config = LiveConfig { threads: 3, ..LiveConfig::default() };
    let threads = start_at(&asking(), &config, room, Box::new(|| 0)).unwrap();
    let mut question = watch(threads.hub(), 1, Duration::ZERO).unwrap();
    let begun = Instant::now();
    let first = loop {
        match ready(question.changed()).flatten() {
            Some(first) => break first,
            None => std::thread::yield_now(),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is evaluated");
    };
    // The lane has not said which partitions it holds, and the metric does not exist.
    assert!(["not_found", "partitions_missing"].contains(&&*result(&first)), "{first:?}");
    threads.end();
    while ready(question.changed()).is_none_or(|told| told.is_some()) {}
    assert!(matches!(watch(threads.hub(), 1, Duration::ZERO), Err(EvaluateError::Overloaded(_))));
}
