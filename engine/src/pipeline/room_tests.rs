//! Who stops, who is loaded and who goes on as memory becomes scarce.

use super::*;

const A: MetricId = MetricId(0);
const B: MetricId = MetricId(1);
const C: MetricId = MetricId(2);

#[test]
fn near_the_end_the_large_stop_then_the_middling_and_at_last_all() {
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
fn who_stopped_goes_on_where_there_is_room() {
    let room = Room::new(1_000);
    let see = |bytes: u64| {
        room.seen.lock().looked.clear();
        room.look(A, || [(A, bytes), (B, 10)]);
    };
    assert!(room.has_room(true) && room.over(A).is_none());
    see(900);
    assert!(room.over(A).is_some() && room.over(B).is_none() && !room.has_room(true));
    // What stopped somebody is gone: one in memory needs no more than it holds, one that is not needs some.
    see(780);
    assert!(room.over(A).is_none() && room.has_room(true) && !room.has_room(false));
    see(700);
    assert!(room.has_room(false));
    assert_eq!(room.used(), (710, 1_000));
    // Another lane's metrics count, too, until they are held no more.
    room.look(C, || [(C, 400)]);
    assert_eq!((room.used().0, room.over(A).is_some()), (1_110, true));
    room.forget(C);
    assert_eq!(room.used().0, 710);
    // Nor where somebody looked before it went.
    room.look(MetricId(3), || [(C, 400)]);
    assert_eq!(room.used().0, 710);
}

#[test]
fn what_is_loaded_stops_nobody_else() {
    let room = Room::new(1_000);
    room.note(A, 700);
    // One that comes later finds what there is below the end.
    assert!(room.refuses(B, 150).is_none() && room.refuses(B, 151).is_some());
    // Loaded afresh it may be as large as it was, and as all may be together.
    room.note(B, 240);
    assert!(room.refuses(B, 420).is_none());
    assert!(room.refuses(B, 421).is_some());
    assert_eq!(room.used().0, 940, "what was there before is held on");
    room.note(B, 0);
    // What was counted before a start may be a little too much; once.
    room.expect(C);
    assert!(room.refuses(C, 550).is_none());
    room.note(C, 0);
    assert!(room.refuses(C, 151).is_some());
    room.expect(C);
    assert!(room.refuses(C, 551).is_some() && room.refuses(C, 151).is_some());
}

#[test]
fn what_takes_the_place_of_something_may_be_as_large_and_takes_nobody_elses() {
    let room = Room::new(1_000);
    room.note(A, 500);
    room.note(B, 400);
    room.hand_over(B, C, room.held(B));
    // It is not loaded yet, and nobody else may take its place.
    assert_eq!((room.used().0, room.has_room(true), room.held(B)), (900, false, 0));
    // A look at the lane, where what it was lies for a moment yet, changes nothing of that.
    room.look(A, || [(A, 500), (B, 400), (C, 0)]);
    room.note_followed(B, 400);
    assert_eq!(room.used().0, 900);
    // Nor does a lane that is slow, and loads what it was only now.
    room.note_others(A, vec![(A, 500), (B, 400)]);
    room.note(B, 400);
    room.note_emptied(B);
    assert_eq!((room.used().0, room.held(B), room.held(C)), (900, 0, 400));
    assert!(room.refuses(C, 400).is_none());
    room.note(C, 380);
    assert_eq!(room.used().0, 880);
}

#[test]
fn a_piece_is_read_only_where_there_is_room_for_it() {
    let room = Room::new(1_600);
    assert_eq!(room.piece(), 100);
    room.note(A, 1_000);
    // Up to an eighth of the share it does not matter what is read: it may take less once it is folded.
    assert!(room.refuses_piece(B, 0, 200).is_none() && room.refuses_piece(B, 300, 200).is_none());
    assert!(room.refuses_piece(B, 0, 560).is_none() && room.refuses_piece(B, 0, 561).is_some());
    assert!(room.refuses_piece(B, 361, 10).is_some(), "it holds too much already");
}

#[test]
fn a_load_is_judged_by_what_the_metric_was_when_it_began() {
    let room = Room::new(1_000);
    room.note(A, 700);
    // A lane that looks meanwhile sees half of it: it is a newcomer all the same.
    room.begin_load(B);
    room.look(A, || [(A, 700), (B, 100)]);
    assert!(room.refuses(B, 150).is_none() && room.refuses(B, 151).is_some());
    room.note(B, 240);
    // The store fails when half of it is loaded: what it held is still its own when the load is repeated.
    room.begin_load(B);
    room.note_emptied(B);
    assert_eq!((room.used().0, room.has_room(true)), (940, false));
    room.begin_load(B);
    assert!(room.refuses(B, 420).is_none() && room.refuses(B, 421).is_some());
    // It stops for good: then it is one that comes later.
    room.note_emptied(B);
    room.begin_load(B);
    assert!(room.refuses(B, 150).is_none() && room.refuses(B, 151).is_some());
    room.forget(B);
    room.begin_load(B);
    assert_eq!(room.used().0, 700, "it is gone");
}

#[test]
fn a_look_that_waited_long_is_repeated_soon() {
    let room = Room::new(1_000);
    room.look(A, || {
        // As on a machine where others use the processors.
        let (_keep, none) = std::sync::mpsc::channel::<()>();
        let _ = none.recv_timeout(Duration::from_millis(200));
        [(A, 1)]
    });
    let (at, took) = room.seen.lock().looked[&A];
    assert!(took * SELDOM < Duration::from_secs(1), "{took:?} of the processor's time");
    room.seen.lock().looked.insert(A, (at.checked_sub(Duration::from_secs(1)).expect("it is up longer"), took));
    room.look(A, || [(A, 2)]);
    assert_eq!(room.used().0, 2);
}

#[test]
fn a_look_that_took_long_is_not_repeated_soon() {
    let room = Room::new(1_000);
    room.seen.lock().looked.insert(A, (Instant::now(), Duration::from_secs(1)));
    room.look(A, || -> [(MetricId, u64); 1] { panic!("too soon") });
    room.look(B, || [(B, 1)]);
    assert_eq!(room.used().0, 1);
}
