//! Which metrics stop, are loaded and count on as memory becomes scarce.

use super::*;

const A: MetricId = MetricId(0);
const B: MetricId = MetricId(1);
const C: MetricId = MetricId(2);

#[test]
fn near_the_limit_large_metrics_stop_first_and_at_last_all() {
    for (held, own, metrics, expected) in [
        (840, 800, 3, false),
        (860, 800, 3, true),
        (860, 60, 3, false),
        (1_000, 60, 3, false),
        (1_001, 42, 3, true),
        (1_001, 41, 3, false),
        (1_120, 1, 3, false),
        (1_121, 1, 3, true),
        (900, 900, 1, false),
        (900, 334, 3, true),
    ] {
        assert_eq!(over(1_000, held, own, metrics), expected, "{held} {own} {metrics}");
    }
}

#[test]
fn a_stopped_metric_counts_on_where_there_is_room() {
    let share = MemoryShare::new(1_000);
    let see = |bytes: u64| {
        share.measured.lock().taken.clear();
        share.measure(A, || [(A, bytes), (B, 10)]);
    };
    assert!(share.has_room(true) && share.limit_exceeded(A).is_none());
    see(900);
    assert!(
        share.limit_exceeded(A).is_some()
            && share.limit_exceeded(B).is_none()
            && !share.has_room(true)
    );
    // The cause of the stop is gone: a metric in memory needs no more room than it holds, one that
    // is not needs some.
    see(780);
    assert!(share.limit_exceeded(A).is_none() && share.has_room(true) && !share.has_room(false));
    see(700);
    assert!(share.has_room(false));
    assert_eq!(share.used(), (710, 1_000));
    // Another lane's metrics count, too, until they are gone.
    share.measure(C, || [(C, 400)]);
    assert_eq!((share.used().0, share.limit_exceeded(A).is_some()), (1_110, true));
    share.forget(C);
    assert_eq!(share.used().0, 710);
    // Also if a measurement began before it was forgotten.
    share.measure(MetricId(3), || [(C, 400)]);
    assert_eq!(share.used().0, 710);
}

#[test]
fn a_load_stops_no_other_metric() {
    let share = MemoryShare::new(1_000);
    share.record_held(A, 700);
    // A metric that is added may take what is left below the limit.
    assert!(share.refuse_load(B, 150).is_none() && share.refuse_load(B, 151).is_some());
    // One that is loaded again may be as large as it was, and fill the share.
    share.record_held(B, 240);
    assert!(share.refuse_load(B, 420).is_none());
    assert!(share.refuse_load(B, 421).is_some());
    assert_eq!(share.used().0, 940, "what was there before is held on");
    share.record_held(B, 0);
    // What was counted before a start may exceed the share a little; once.
    share.expect_load(C);
    assert!(share.refuse_load(C, 550).is_none());
    share.record_held(C, 0);
    assert!(share.refuse_load(C, 151).is_some());
    share.expect_load(C);
    assert!(share.refuse_load(C, 551).is_some() && share.refuse_load(C, 151).is_some());
}

#[test]
fn a_replacement_may_be_as_large_as_what_it_replaces() {
    let share = MemoryShare::new(1_000);
    share.record_held(A, 500);
    share.record_held(B, 400);
    share.hand_over(B, C, share.held(B));
    // It is not loaded yet, and no other may take its room.
    assert_eq!((share.used().0, share.has_room(true), share.held(B)), (900, false, 0));
    // A measurement of the lane, in which the old state is still present, changes nothing.
    share.measure(A, || [(A, 500), (B, 400), (C, 0)]);
    share.record_followed(B, 400);
    assert_eq!(share.used().0, 900);
    // Nor does a slow lane that loads the old metric only now.
    share.record_others(A, vec![(A, 500), (B, 400)]);
    share.record_held(B, 400);
    share.record_emptied(B);
    assert_eq!((share.used().0, share.held(B), share.held(C)), (900, 0, 400));
    assert!(share.refuse_load(C, 400).is_none());
    share.record_held(C, 380);
    assert_eq!(share.used().0, 880);
}

#[test]
fn a_piece_is_read_only_where_there_is_room_for_it() {
    let share = MemoryShare::new(1_600);
    assert_eq!(share.piece_bytes(), 100);
    share.record_held(A, 1_000);
    // Frames may exceed the room by an eighth of the share: they may take less once they are
    // folded.
    assert!(share.refuse_piece(B, 0, 200).is_none() && share.refuse_piece(B, 300, 200).is_none());
    assert!(share.refuse_piece(B, 0, 560).is_none() && share.refuse_piece(B, 0, 561).is_some());
    assert!(share.refuse_piece(B, 361, 10).is_some(), "it holds too much already");
}

#[test]
fn a_load_is_judged_by_what_the_metric_was_when_it_began() {
    let share = MemoryShare::new(1_000);
    share.record_held(A, 700);
    // A lane that measures meanwhile sees half of it; it still counts as a new metric.
    share.begin_load(B);
    share.measure(A, || [(A, 700), (B, 100)]);
    assert!(share.refuse_load(B, 150).is_none() && share.refuse_load(B, 151).is_some());
    share.record_held(B, 240);
    // The store fails when half of it is loaded: what it held stays reserved when the load is
    // repeated.
    share.begin_load(B);
    share.record_emptied(B);
    assert_eq!((share.used().0, share.has_room(true)), (940, false));
    share.begin_load(B);
    assert!(share.refuse_load(B, 420).is_none() && share.refuse_load(B, 421).is_some());
    // It is refused: then it counts as a new metric.
    share.record_emptied(B);
    share.begin_load(B);
    assert!(share.refuse_load(B, 150).is_none() && share.refuse_load(B, 151).is_some());
    share.forget(B);
    share.begin_load(B);
    assert_eq!(share.used().0, 700, "it is gone");
}

#[test]
fn a_measurement_that_waited_long_is_repeated_soon() {
    let share = MemoryShare::new(1_000);
    share.measure(A, || {
        // As on a machine whose processors are busy.
        let (_keep, none) = std::sync::mpsc::channel::<()>();
        let _ = none.recv_timeout(Duration::from_millis(200));
        [(A, 1)]
    });
    let (at, took) = share.measured.lock().taken[&A];
    assert!(took * SELDOM < Duration::from_secs(1), "{took:?} of the processor's time");
    share
        .measured
        .lock()
        .taken
        .insert(A, (at.checked_sub(Duration::from_secs(1)).expect("it is up longer"), took));
    share.measure(A, || [(A, 2)]);
    assert_eq!(share.used().0, 2);
}

#[test]
fn a_measurement_that_took_long_is_not_repeated_soon() {
    let share = MemoryShare::new(1_000);
    share.measured.lock().taken.insert(A, (Instant::now(), Duration::from_secs(1)));
    share.measure(A, || -> [(MetricId, u64); 1] { panic!("too soon") });
    share.measure(B, || [(B, 1)]);
    assert_eq!(share.used().0, 1);
}
