//! The ring against its definition: whatever is shown, joined, taken and left in whatever order,
//! each listener gets consecutive events or is told their number, and the bytes stay within their
//! bound.

use super::tests::{new_event, plenty, taken};
use super::*;
use crate::memory::Held;
use proptest::prelude::*;

/// Bytes of the share: some ten small events.
const SHARE: u64 = 4 << 10;

#[derive(Clone, Debug)]
enum Step {
    /// Events of so many bytes each are shown in a partition.
    Publish(u32, Vec<usize>),
    /// Offsets without records are passed.
    Pass(u32),
    /// Somebody listens, to all events or to those of one type.
    Join(bool),
    /// A listener takes so many.
    Take(usize, usize),
    /// A listener leaves.
    Leave(usize),
    /// Others take so many bytes of the share.
    Others(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![9 => 0..200_usize, 1 => 4_000..6_000_usize];
    prop_oneof![
        6 => (0..3_u32, prop::collection::vec(size, 0..9)).prop_map(|(p, sizes)| Step::Publish(p, sizes)),
        1 => (0..3_u32).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Join),
        6 => (0..8_usize, 1..20_usize).prop_map(|(who, most)| Step::Take(who, most)),
        1 => (0..8_usize).prop_map(Step::Leave),
        1 => (0..SHARE + 1).prop_map(Step::Others),
    ]
}

/// A listener, and the number of the event that it must get or be told of next.
struct Heard {
    listener: FeedListener,
    wants_all: bool,
    next: usize,
}

impl Heard {
    /// Takes, and compares with all events that were ever shown: cursor, and whether it is wanted
    /// by those that choose.
    fn take(&mut self, most: usize, shown: &[(String, bool)]) -> usize {
        let items = taken(&mut self.listener, most);
        assert!(items.len() <= most);
        for item in &items {
            match item {
                FeedItem::Gap { .. } => panic!("only replays tell of gaps"),
                FeedItem::Skipped(count) => self.next += usize::try_from(*count).expect("few"),
                FeedItem::Event(event) => {
                    while !self.wants_all && !shown[self.next].1 {
                        self.next += 1;
                    }
                    assert_eq!(&*event.cursor, shown[self.next].0);
                    self.next += 1;
                }
            }
        }
        // What it does not want it has passed all the same.
        let cursor = self.listener.cursor();
        let passed = shown.iter().rposition(|(shown, _)| **cursor == **shown);
        self.next = self.next.max(passed.map_or(0, |last| last + 1));
        items.len()
    }

    /// Takes all that there is: nothing may be left.
    fn drain(&mut self, shown: &[(String, bool)]) {
        while self.take(7, shown) > 0 {}
        assert_eq!(self.next, shown.len());
    }
}

/// Everything that a run of steps acts on.
struct World {
    share: Arc<Share>,
    feed: Feed,
    others: Option<Held>,
    heard: Vec<Heard>,
    position: Position,
    shown: Vec<(String, bool)>,
}

impl World {
    fn new() -> World {
        let share = Arc::new(Share::new(SHARE));
        let feed = Feed::new(&share, &plenty());
        let position = Position::default();
        World { share, feed, others: None, heard: Vec::new(), position, shown: Vec::new() }
    }

    fn publish(&mut self, partition: u32, sizes: &[usize]) {
        let first = self.position.0.get(&partition).copied().unwrap_or(0) + 1;
        let to = first + sizes.len() as u64;
        if self.feed.begins(partition, to) {
            let mut events = Vec::new();
            for (next, bytes) in (first..).zip(sizes) {
                let wanted = bytes % 2 == 0;
                let event_type = if wanted { "buy" } else { "view" };
                events.push(NewEvent { event_type: event_type.into(), ..new_event(next, *bytes) });
                self.position.0.insert(partition, next);
                self.shown.push((self.position.to_string(), wanted));
            }
            self.feed.publish(partition, to, events);
        }
        self.position.0.insert(partition, to);
        assert_eq!(self.feed.position(), self.position);
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Publish(partition, sizes) => self.publish(partition, &sizes),
            Step::Pass(partition) => {
                let next = self.position.0.entry(partition).or_default();
                *next += 3;
                self.feed.passed(partition, *next);
            }
            Step::Join(wants_all) => {
                let event_types = if wants_all { vec![] } else { vec!["buy".into()] };
                let filter = FeedFilter { event_types, ..FeedFilter::default() };
                let listener = self.feed.listen(filter);
                assert_eq!(**listener.cursor(), *self.position.to_string());
                self.heard.push(Heard { listener, wants_all, next: self.shown.len() });
            }
            Step::Take(who, most) => {
                if let Some(heard) = self.heard.get_mut(who) {
                    heard.take(most, &self.shown);
                }
            }
            Step::Leave(who) if who < self.heard.len() => drop(self.heard.remove(who)),
            Step::Leave(_) => {}
            Step::Others(bytes) => {
                self.others = None;
                self.others = self.share.take(bytes).ok();
            }
        }
        let others = self.others.as_ref().map_or(0, Held::bytes);
        assert!(self.share.used() - others <= SHARE, "{} of it", self.share.used());
        assert_eq!(self.feed.has_listeners(), !self.heard.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_listened_to_is_consecutive_or_told_and_its_bytes_are_bounded(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.run(step));
        let World { mut heard, shown, share, others, .. } = world;
        heard.iter_mut().for_each(|heard| heard.drain(&shown));
        drop((heard, others));
        prop_assert_eq!(share.used(), 0);
    }
}
