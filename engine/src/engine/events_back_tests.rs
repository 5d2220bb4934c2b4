//! Pages against the definition over an embedded log, and verdicts on single records.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::config::EventsConfig;
use crate::engine::testing::LogRig;
use crate::pipeline::testing::payload_with;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tally_plugin::read::Id;

const NOW: i64 = 1_800_000_000_000;

struct Rig {
    embedded: LogRig,
    decoder: Decoder,
}

fn rig(partitions: u32) -> Rig {
    let decoder = Decoder::new(&EventsConfig::default()).unwrap();
    Rig { embedded: LogRig::new(partitions), decoder }
}

impl Rig {
    /// Pages until there are no more.
    fn pages(&self, request: &PageRequest, records: u64) -> Vec<PastEvent> {
        self.pages_in(request, (records, Duration::from_secs(60), STEP_BYTES))
    }

    /// The same with so many records, so much time and so many bytes of a step for each.
    fn pages_in(
        &self,
        request: &PageRequest,
        (records, time, step_bytes): (u64, Duration, usize),
    ) -> Vec<PastEvent> {
        let (mut all, mut request) = (Vec::new(), request.clone());
        for _ in 0..1_000 {
            let left = PageBudget { records, until: Instant::now() + time, step_bytes };
            let page = page(&*self.embedded.log, &self.decoder, &request, left).unwrap();
            assert!(page.events.len() <= request.limit);
            all.extend(page.events);
            match page.next {
                Some(next) => assert_ne!(request.before.replace(next.clone()), Some(next)),
                None => return all,
            }
        }
        panic!("the pages do not end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn pages_are_what_was_appended_backwards(
        records in prop::collection::vec((0..6_u64, 0..3_i64, any::<bool>()), 1..700),
        limit in 1..40_usize,
        some in any::<bool>(),
        records_of_a_page in prop_oneof![Just(200_000_u64), Just(300)],
    ) {
        let rig = rig(3);
        let (mut now, mut expected) = (NOW, Vec::new());
        for (n, (user, later, good)) in records.into_iter().enumerate() {
            now += later;
            let text = if good { payload_with(user, &format!(",\"n\":{n}")) } else { "{".into() };
            let (partition, next) = rig.embedded.append(user, &text, now);
            if good && (!some || user == 2) {
                expected.push((now, Reverse(partition), next));
            }
        }
        expected.sort_unstable_by_key(|event| Reverse(*event));
        let user = some.then_some(Id::Integer(2));
        let filter = FeedFilter { user, ..FeedFilter::default() };
        let request = PageRequest { before: None, limit, filter };
        let found = rig.pages(&request, records_of_a_page);
        let found: Vec<_> =
            found.iter().map(|e| (e.timestamp_ms, Reverse(e.partition), e.next)).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn pages_without_time_or_of_large_records_come_to_an_end_and_leave_out_nothing() {
    let rig = rig(3);
    let mut expected: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let padding = "x".repeat(20_000);
    for n in 0..200 {
        let (partition, next) =
            rig.embedded.append(n % 7, &payload_with(n, &format!(",\"x\":\"{padding}\"")), NOW);
        expected.entry(partition).or_default().insert(0, next);
    }
    let request = PageRequest { before: None, limit: 50, ..PageRequest::default() };
    for (time, step_bytes) in [(0, STEP_BYTES), (0, 1), (60, 1), (60, 100_000)] {
        let all = rig.pages_in(&request, (200_000, Duration::from_secs(time), step_bytes));
        let mut found: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for event in all {
            found.entry(event.partition).or_default().push(event.next);
        }
        assert_eq!(found, expected, "{time} s, {step_bytes} bytes");
    }
}

#[test]
fn before_a_position_is_what_stands_before_it() {
    let rig = rig(1);
    for n in 0..9 {
        rig.embedded.append(1, &payload_with(1, &format!(",\"n\":{n}")), NOW);
    }
    for (before, count) in [("0:0", 0), ("0:4", 4), ("0:99", 9), ("", 9)] {
        let before = Some(before.parse().unwrap());
        let request = PageRequest { before, limit: 5, ..PageRequest::default() };
        let nexts: Vec<u64> = rig.pages(&request, 1_000).iter().map(|event| event.next).collect();
        assert_eq!(nexts, (1..=count).rev().collect::<Vec<u64>>());
    }
}

#[test]
fn a_record_has_the_verdict_that_counting_has_for_it() {
    let rig = rig(1);
    let id = ",\"event_id\":\"e\"";
    let texts = [
        payload_with(1, id),
        "{".into(),
        payload_with(2, id),
        payload_with(3, ""),
        payload_with(4, id),
        payload_with(4, id),
    ];
    for (n, text) in texts.iter().enumerate() {
        let placed = rig.embedded.append(1, text, NOW);
        assert_eq!(placed, (0, n as u64 + 1));
    }
    let verdict = |offset, window| {
        let found = judged(&*rig.embedded.log, &rig.decoder, window, (0, offset)).unwrap();
        let FoundRecord::Judged(found) = found else { panic!("{found:?}") };
        assert_eq!(found.record.payload.as_deref(), Some(texts[offset as usize].as_bytes()));
        found.verdict
    };
    let is_event = |verdict| matches!(verdict, RecordVerdict::Event(_));
    assert!(is_event(verdict(0, 100)) && is_event(verdict(3, 100)));
    assert_eq!(verdict(1, 100), RecordVerdict::Refused("invalid_json".into()));
    assert_eq!(verdict(2, 100), RecordVerdict::Duplicate);
    assert_eq!(verdict(4, 2), RecordVerdict::Duplicate);
    // The window ends one offset before the first of its id.
    assert!(is_event(verdict(4, 1)) && is_event(verdict(4, 0)));
    let gone = judged(&*rig.embedded.log, &rig.decoder, 100, (0, 6)).unwrap();
    assert_eq!(gone, FoundRecord::NotHeld { start: 0, end: 6 });
    let none = judged(&*rig.embedded.log, &rig.decoder, 100, (1, 0));
    assert!(matches!(none, Err(ReadLogError::NoPartition(1))));
}
