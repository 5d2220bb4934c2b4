//! Replays step by step over a log in memory, with counting, listening and retention in between:
//! what the listener gets is each event from its position on, once, in order, or told as a gap.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod memory_log;
mod turns;

use super::*;
use crate::config::EventsConfig;
use crate::decode::{DedupeWindow, Refused};
use crate::event::{EventBatch, Record};
use crate::pipeline::publish_events::publish_events;
use crate::pipeline::testing::payload;
use memory_log::{Kept, MemoryLog};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const PARTITIONS: u32 = 3;
const WINDOW: u64 = 1_000;

fn replay_parts(log: &Arc<MemoryLog>, share: &Arc<Share>) -> ReplayParts {
    let decoder = Decoder::new(&EventsConfig::default()).unwrap();
    let (share, told) = (share.clone(), Arc::default());
    ReplayParts { log: log.clone(), decoder, window: WINDOW, share, told }
}

/// A place that others wait for, or nobody.
struct Place(OwnedSemaphorePermit, bool);

impl ReplayPermit for Place {
    fn is_wanted(&self) -> bool {
        assert_eq!(self.0.num_permits(), 1);
        self.1
    }
}

/// For who gets no other turn.
fn never() -> ReplayAgain {
    Box::new(|at| panic!("it makes way at {at}"))
}

/// A listener that waits for another turn: from where on, and what it becomes then.
#[derive(Default)]
struct NextTurn {
    from: Option<Position>,
    listener: Option<FeedListener>,
}

/// Counting of one partition, as far as the feed sees it.
struct Counting {
    next: u64,
    window: DedupeWindow,
}

/// A log, counting, a feed, and a listener that is replayed to.
struct World {
    log: Arc<MemoryLog>,
    feed: Feed,
    decoder: Decoder,
    batch: EventBatch,
    refused: Vec<Refused>,
    counting: Vec<Counting>,
    events: u64,
    replay: Option<Replay>,
    listener: Option<FeedListener>,
    next_turn: Arc<Mutex<NextTurn>>,
    since: Position,
    items: Vec<FeedItem>,
    ended: bool,
}

impl World {
    /// With so many bytes of memory for the feed.
    fn new(share: u64, shared: bool) -> World {
        let log = Arc::new(MemoryLog::new(PARTITIONS, shared));
        let feed = Feed::new(&Arc::new(Share::new(share)), &Arc::new(Share::new(1 << 40)));
        (0..PARTITIONS).for_each(|partition| feed.starts(partition, 0));
        let counting = || Counting { next: 0, window: DedupeWindow::new(WINDOW) };
        World {
            log,
            feed,
            decoder: Decoder::new(&EventsConfig::default()).unwrap(),
            batch: EventBatch::default(),
            refused: Vec::new(),
            counting: (0..PARTITIONS).map(|_| counting()).collect(),
            events: 0,
            replay: None,
            listener: None,
            next_turn: Arc::default(),
            since: Position::default(),
            items: Vec::new(),
            ended: false,
        }
    }

    fn append(&mut self, partition: u32, kept: Kept) {
        let mut parts = self.log.parts.lock();
        let part = &mut parts[partition as usize];
        let with_id =
            |event: u64| payload(event).replacen('{', &format!("{{\"event_id\":\"e{event}\","), 1);
        let (kept, text) = match kept {
            Kept::Event => {
                self.events += 1;
                (Kept::Event, Some(with_id(self.events)))
            }
            Kept::Again => match part
                .kept
                .iter()
                .rev()
                .find_map(|(kept, text)| matches!(kept, Kept::Event).then(|| text.clone()))
            {
                Some(text) => (Kept::Again, text),
                None => (Kept::Rubbish, Some("{".into())),
            },
            Kept::Rubbish => (Kept::Rubbish, Some("{".into())),
            Kept::Hole => (Kept::Hole, None),
        };
        part.kept.push((kept, text));
    }

    /// Counts at most so many offsets of a partition.
    fn count(&mut self, partition: u32, most: u64) {
        let Counting { next, window } = &mut self.counting[partition as usize];
        let parts = self.log.parts.lock();
        let part = &parts[partition as usize];
        let to = part.end().min(*next + most);
        let read = part.records(*next, to, usize::MAX);
        let records: Vec<Record<'_>> = read.iter().map(|record| record.borrowed()).collect();
        let (batch, refused) = (&mut self.batch, &mut self.refused);
        self.decoder.decode(partition, &records, window, *next, batch, refused);
        publish_events(&self.feed, &self.decoder, batch, &records, *next);
        if to > *next {
            self.feed.passed(partition, to);
        }
        *next = to;
    }

    /// Drops so many of the offsets that are counted.
    fn drop_oldest(&mut self, partition: u32, most: u64) {
        let mut parts = self.log.parts.lock();
        let part = &mut parts[partition as usize];
        part.start = (part.start + most).min(self.counting[partition as usize].next);
    }

    fn listen(&mut self, since: Position) {
        self.since = since.clone();
        for (partition, next) in self.feed.position().0 {
            self.since.0.entry(partition).or_insert(next);
        }
        self.listener = Some(self.begin(since));
    }

    fn begin(&mut self, since: Position) -> FeedListener {
        let share = Arc::new(Share::new(1 << 20));
        let parts = replay_parts(&self.log, &share);
        let next_turn = self.next_turn.clone();
        let again: ReplayAgain = Box::new(move |at| {
            next_turn.lock().from = Some(at);
            Box::pin(poll_fn(move |_| match next_turn.lock().listener.take() {
                Some(listener) => Poll::Ready(Some(listener)),
                None => Poll::Pending,
            }))
        });
        let chosen = (since, FeedFilter::default());
        let (replay, listener) = Replay::new(parts, &self.feed, chosen, again);
        self.replay = Some(replay);
        listener
    }

    /// The replay makes way for others.
    fn make_way(&mut self) {
        if let Some(mut replay) = self.replay.take_if(|_| !self.ended) {
            assert!(replay.make_way());
        }
    }

    /// A step of the replay; if its listener waits for another turn, that begins.
    fn step(&mut self) {
        let from = self.next_turn.lock().from.take();
        if let Some(from) = from {
            let listener = self.begin(from);
            self.next_turn.lock().listener = Some(listener);
        }
        if let Some(replay) = self.replay.as_mut().filter(|_| !self.ended) {
            self.ended = replay.step(&self.feed) == AfterStep::End;
        }
    }

    fn take(&mut self, most: usize) {
        let Some(listener) = &mut self.listener else { return };
        let mut context = Context::from_waker(Waker::noop());
        let taken = std::pin::pin!(listener.next(most, &mut self.items)).poll(&mut context);
        assert_ne!(taken, Poll::Ready(false), "it does not end");
    }

    /// Counts, replays and takes everything.
    fn finish(&mut self) {
        (0..PARTITIONS).for_each(|partition| self.count(partition, u64::MAX / 2));
        for _ in 0..10_000 {
            self.step();
            self.take(1_000);
            if self.ended {
                break;
            }
        }
        assert!(self.ended, "it joins");
        loop {
            let before = self.items.len();
            self.take(1_000);
            if self.items.len() == before {
                return;
            }
        }
    }

    /// Compares what was taken with what the log held.
    fn check(&self) {
        let mut at = self.since.clone();
        let mut gone: Vec<(u32, u64, u64)> = Vec::new();
        let mut got: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for item in &self.items {
            match item {
                FeedItem::Skipped(count) => panic!("{count} skipped"),
                FeedItem::Gap { from, to } => {
                    for (partition, from) in &from.0 {
                        gone.push((*partition, *from, to.0[partition]));
                    }
                }
                FeedItem::Event(event) => {
                    got.entry(event.partition).or_default().push(event.next);
                    // The cursor moves on, and says of this partition exactly where it is.
                    let cursor: Position = event.cursor.parse().unwrap();
                    assert!(cursor.reaches(&at), "{cursor} after {at}");
                    assert_eq!(cursor.0[&event.partition], event.next);
                    at = cursor;
                }
            }
        }
        for (partition, part) in (0..).zip(self.log.parts.lock().iter()) {
            let since = self.since.0[&partition];
            let told = |next: u64| {
                gone.iter()
                    .any(|(of, from, to)| *of == partition && (*from..*to).contains(&(next - 1)))
            };
            let events = (1..).zip(&part.kept).filter(|(_, (kept, _))| matches!(kept, Kept::Event));
            let events = events.map(|(next, _)| next).filter(|next| *next > since);
            let got = got.remove(&partition).unwrap_or_default();
            let expected: Vec<u64> =
                events.filter(|next| got.contains(next) || !told(*next)).collect();
            assert_eq!(got, expected, "partition {partition} since {since}, gone {gone:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(u32, Vec<Kept>),
    Count(u32, u64),
    Drop(u32, u64),
    Step(u8),
    Take(usize),
    MakeWay,
}

fn kept() -> impl Strategy<Value = Kept> {
    prop_oneof![
        6 => Just(Kept::Event),
        1 => Just(Kept::Again),
        1 => Just(Kept::Rubbish),
        2 => Just(Kept::Hole),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let part = || 0..PARTITIONS;
    prop_oneof![
        4 => (part(), prop::collection::vec(kept(), 1..90)).prop_map(|(p, kept)| Op::Append(p, kept)),
        4 => (part(), 1..60_u64).prop_map(|(p, most)| Op::Count(p, most)),
        1 => (part(), 1..60_u64).prop_map(|(p, most)| Op::Drop(p, most)),
        6 => (1..8_u8).prop_map(Op::Step),
        4 => (1..400_usize).prop_map(Op::Take),
        1 => Just(Op::MakeWay),
    ]
}

/// `dedupes`: with duplicates; else with retention, after which a replay cannot know of what a
/// duplicate repeats.
fn run(world: &mut World, dedupes: bool, op: Op) {
    match op {
        Op::Append(partition, all) => {
            for kept in all {
                let is_again = matches!(kept, Kept::Again);
                world.append(partition, if is_again && !dedupes { Kept::Rubbish } else { kept });
            }
        }
        Op::Count(partition, most) => world.count(partition, most),
        Op::Drop(partition, most) if !dedupes => world.drop_oldest(partition, most),
        Op::Drop(..) => {}
        Op::Step(steps) => (0..steps).for_each(|_| world.step()),
        Op::Take(most) => world.take(most),
        Op::MakeWay => world.make_way(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_event_comes_once_and_in_order_or_is_told_as_gone(
        (dedupes, shared) in any::<(bool, bool)>(),
        before in prop::collection::vec(op(), 0..20),
        after in prop::collection::vec(op(), 0..60),
        since in prop::collection::vec(prop::option::of(0.0..1.0), PARTITIONS as usize),
    ) {
        let mut world = World::new(64 << 20, shared);
        before.into_iter().for_each(|op| run(&mut world, dedupes, op));
        let named = (0..).zip(&since).filter_map(|(partition, part): (u32, &Option<f64>)| {
            let end = world.log.parts.lock()[partition as usize].end();
            Some((partition, (part.as_ref()? * end as f64) as u64))
        });
        let named = Position(named.collect());
        world.listen(named);
        after.into_iter().for_each(|op| run(&mut world, dedupes, op));
        world.finish();
        world.check();
    }
}

#[test]
fn a_ring_that_goes_on_without_the_replay_costs_no_event() {
    // The ring holds some ten events.
    let mut world = World::new(4 << 10, false);
    let events = |world: &mut World, count: u64| {
        for n in 0..count {
            world.append((n % 2) as u32, Kept::Event);
        }
        (0..PARTITIONS).for_each(|partition| world.count(partition, u64::MAX / 2));
    };
    events(&mut world, 500);
    world.listen("0:0,1:0,2:0".parse().unwrap());
    // Each time that it has joined the ring drops what it would go on with.
    for _ in 0..3 {
        for step in 0.. {
            assert!(step < 1_000 && !world.ended, "it joins and has not caught up");
            world.step();
            world.take(1_000);
            if world.replay.as_ref().unwrap().joined.is_some() {
                break;
            }
        }
        assert!(world.feed.has_listeners());
        events(&mut world, 100);
    }
    world.finish();
    world.check();
    let got = world.items.iter().filter(|item| matches!(item, FeedItem::Event(_)));
    assert_eq!(got.count(), 800);
}

#[test]
fn a_partition_that_ends_without_a_record_is_passed_while_another_is_busy() {
    let mut world = World::new(1 << 20, true);
    for kept in [Kept::Event, Kept::Hole, Kept::Hole] {
        world.append(0, kept);
    }
    world.count(0, u64::MAX / 2);
    world.listen("0:0,1:0,2:0".parse().unwrap());
    for _ in 0..200 {
        world.append(1, Kept::Event);
        world.count(1, u64::MAX / 2);
        world.step();
        world.take(1_000);
    }
    assert!(world.ended, "it joins");
    world.finish();
    world.check();
}

#[test]
fn a_partition_is_read_by_itself_in_pieces() {
    let mut world = World::new(1 << 20, false);
    (0..50).for_each(|_| world.append(0, Kept::Event));
    (0..3).for_each(|_| world.append(0, Kept::Hole));
    let decoder = Decoder::new(&EventsConfig::default()).unwrap();
    let mut at: Position = "0:10,1:0,2:0".parse().unwrap();
    let mut tail = JudgedTail::open(&*world.log, decoder, WINDOW, &at).unwrap();
    let (mut got, mut pieces) = (Vec::new(), 0);
    let mut each = |judged: &JudgedRecords<'_>| {
        let new = judged.records.iter().map(|record| record.offset);
        got.extend(new.filter(|offset| *offset >= judged.from));
    };
    while !tail.read_to(&*world.log, (0, 53, 1), &mut at, &mut each).unwrap() {
        pieces += 1;
        assert!(pieces < 50, "it comes to an end");
    }
    assert_eq!((got, pieces), ((10..50).collect(), 6));
    assert_eq!(at.to_string(), "0:53,1:0,2:0");
}

#[test]
fn a_position_beyond_the_end_or_before_the_start_begins_with_the_first_record_held() {
    let mut world = World::new(1 << 20, false);
    (0..3).for_each(|partition| (0..9).for_each(|_| world.append(partition, Kept::Event)));
    (0..3).for_each(|partition| world.count(partition, 9));
    world.drop_oldest(0, 4);
    world.drop_oldest(1, 5);
    world.listen("0:2,1:99,2:7,9:1".parse().unwrap());
    world.finish();
    let gap = FeedItem::Gap { from: "0:2,1:99".parse().unwrap(), to: "0:4,1:5".parse().unwrap() };
    assert_eq!(world.items[0], gap);
    let next = |item: &FeedItem| match item {
        FeedItem::Event(event) => Some((event.partition, event.next)),
        FeedItem::Skipped(_) | FeedItem::Gap { .. } => None,
    };
    let mut got: Vec<(u32, u64)> = world.items.iter().filter_map(next).collect();
    got.sort_unstable();
    let expected = [(0, 5..10), (1, 6..10), (2, 8..10)];
    let expected = expected.into_iter().flat_map(|(p, nexts)| nexts.map(move |next| (p, next)));
    assert_eq!(got, expected.collect::<Vec<_>>());
}

#[test]
fn a_listener_that_leaves_ends_its_replay_and_gives_its_place_back() {
    let mut world = World::new(1 << 20, false);
    (0..2_000).for_each(|_| world.append(0, Kept::Event));
    world.count(0, 2_000);
    let share = Arc::new(Share::new(1 << 20));
    let parts = replay_parts(&world.log, &share);
    let (feed, places) = (Arc::new(Feed::new(&share, &share)), Arc::new(Semaphore::new(1)));
    feed.starts(0, 2_000);
    let place = places.clone().try_acquire_owned().unwrap();
    let since = "0:0".parse().unwrap();
    let place = (Place(place, false), never());
    let listener = replay_feed(parts, &feed, (since, FeedFilter::default()), place).unwrap();
    let waits = || share.used() > 0;
    let begun = std::time::Instant::now();
    while !waits() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it sends");
        std::thread::yield_now();
    }
    assert_eq!(places.available_permits(), 0, "it waits for its listener");
    drop(listener);
    while places.available_permits() == 0 || waits() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it ends");
        std::thread::yield_now();
    }
}

#[test]
fn a_panic_ends_a_replay_and_is_told_to_its_listener() {
    let world = World::new(1 << 20, false);
    let share = Arc::new(Share::new(1 << 20));
    let (feed, places) = (Arc::new(Feed::new(&share, &share)), Arc::new(Semaphore::new(1)));
    // The log in memory panics where a partition is read that it has not.
    feed.starts(9, 5);
    let parts = replay_parts(&world.log, &share);
    let (told, since) = (parts.told.clone(), "0:0,1:0,2:0".parse().unwrap());
    (0..PARTITIONS).for_each(|partition| feed.starts(partition, 0));
    let place = places.clone().try_acquire_owned().unwrap();
    let place = (Place(place, false), never());
    let mut listener = replay_feed(parts, &feed, (since, FeedFilter::default()), place).unwrap();
    let begun = std::time::Instant::now();
    let mut context = Context::from_waker(Waker::noop());
    let mut items = Vec::new();
    while std::pin::pin!(listener.next(1, &mut items)).poll(&mut context).is_pending() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it ends");
        std::thread::yield_now();
    }
    assert!(items.is_empty() && listener.has_failed() && told.load(Ordering::Relaxed));
    while places.available_permits() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "its place is free");
        std::thread::yield_now();
    }
}
