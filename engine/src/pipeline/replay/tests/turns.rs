//! Replays that make way for others: who takes a little at a time holds no place for ever, and misses
//! nothing.

use super::*;

#[test]
fn who_takes_little_holds_no_place_for_ever_and_misses_nothing() {
    let mut world = World::new(1 << 20, true);
    for n in 0..6_000 {
        world.append(n % PARTITIONS, Kept::Event);
        world.append(n % PARTITIONS, Kept::Hole);
    }
    (0..PARTITIONS).for_each(|partition| world.count(partition, u64::MAX / 2));
    world.listen("0:0,1:0,2:0".parse().unwrap());
    for turn in 1..=5 {
        // It reads on until the messages that wait are as many as may.
        while world.replay.as_mut().unwrap().step(&world.feed) == AfterStep::Another {}
        world.take(7);
        assert!(!world.replay.as_ref().unwrap().turn.is_over(), "its time is not over by itself");
        world.make_way();
        // What it has received it has; then it waits.
        let received = (0..100).find(|_| {
            world.take(100);
            world.next_turn.lock().from.is_some()
        });
        assert!(received.is_some() && world.items.len() <= turn * ITEMS, "{}", world.items.len());
        let cursor = world.listener.as_ref().unwrap().cursor().clone();
        let FeedItem::Event(last) = world.items.last().unwrap() else { panic!("no event") };
        assert_eq!(cursor, last.cursor, "it waits where it is");
        world.step();
        world.take(1);
    }
    world.finish();
    world.check();
    let got = world.items.iter().filter(|item| matches!(item, FeedItem::Event(_)));
    assert_eq!(got.count(), 6_000);
}

#[test]
fn a_turn_that_is_over_ends_if_others_wait_and_else_goes_on() {
    for is_wanted in [false, true] {
        let mut world = World::new(1 << 20, false);
        (0..3_000).for_each(|_| world.append(0, Kept::Event));
        world.count(0, 3_000);
        let feed = Arc::new(Feed::new(&Arc::new(Share::new(1 << 20)), &Arc::new(Share::new(1))));
        feed.starts(0, 3_000);
        world.listen("0:0".parse().unwrap());
        let mut replay = world.replay.take().unwrap();
        replay.turn.goes_on(Duration::ZERO);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (place, weak) = (Place(place, is_wanted), Arc::downgrade(&feed));
        let thread = std::thread::spawn(move || replay.run(&weak, &place));
        let begun = std::time::Instant::now();
        let mut context = Context::from_waker(Waker::noop());
        if is_wanted {
            // Its listener takes nothing.
            thread.join().unwrap();
            while world.next_turn.lock().from.is_none() {
                world.take(1_000);
                assert!(begun.elapsed() < Duration::from_secs(20), "it waits");
            }
            continue;
        }
        let listener = world.listener.as_mut().unwrap();
        while world.items.len() < 3_000 {
            let next = std::pin::pin!(listener.next(1_000, &mut world.items));
            let _ = next.poll(&mut context);
            assert!(begun.elapsed() < Duration::from_secs(20), "it gets on");
            std::thread::yield_now();
        }
        assert!(world.next_turn.lock().from.is_none());
        drop((world, feed));
        thread.join().unwrap();
    }
}
