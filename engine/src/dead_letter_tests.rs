//! Dead letters: what is stored is read, what is full says so, each is counted once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::event::RecordOrigin;

fn letter(offset: u64) -> DeadLetter {
    let reason = if offset.is_multiple_of(2) { "invalid_json" } else { "plugin_failed:x" };
    DeadLetter::new(
        reason,
        "events",
        3,
        offset,
        1_700_000_000_000,
        Some(format!("payload {offset}").as_bytes()),
    )
}

#[test]
fn what_is_stored_is_read() {
    let large = vec![7; WHOLE + 1];
    for payload in [None, Some(&b""[..]), Some(b"\xFF\0"), Some(&large[..WHOLE]), Some(&large)] {
        let letter = DeadLetter::new("too_deep", "events", u32::MAX, u64::MAX, -1, payload);
        assert_eq!(letter.length, payload.map_or(0, |payload| payload.len() as u64));
        let stored = letter.encode();
        assert_eq!(DeadLetter::decode(&stored), Some(letter.clone()));
        assert_eq!(stored[0], FORMAT, "as it always was");
        let of_copy = DeadLetter { origin: Some("events/3/41".into()), ..letter };
        assert_eq!(DeadLetter::decode(&of_copy.encode()), Some(of_copy));
        assert_eq!(DeadLetter::decode(&stored[..HEAD - 1]), None);
        assert_eq!(DeadLetter::decode(&[&[9], &stored[1..]].concat()), None);
    }
    let letter = DeadLetter::new("payload_too_large", "events", 0, 0, 0, Some(&large));
    assert_eq!((letter.bytes.len(), letter.sha256), (PART, Sha256::digest(&large).into()));
}

#[test]
fn a_letter_of_a_copy_has_its_origin() {
    let origin = RecordOrigin { place: "events/3/41", timestamp_ms: 7 };
    let record = Record { origin: Some(origin), ..Record::new(9, 8, Some(b"x")) };
    let letter = DeadLetter::of("invalid_json", "events", 3, &record);
    assert_eq!((letter.origin.as_deref(), letter.timestamp_ms), (Some("events/3/41"), 8));
    assert_eq!(letter.place().to_string(), "events/3/9");
    let plain = DeadLetter::of("invalid_json", "events", 3, &Record::new(9, 8, Some(b"x")));
    assert_eq!(plain, DeadLetter::new("invalid_json", "events", 3, 9, 8, Some(b"x")));
}

#[test]
fn the_newest_are_kept_and_all_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let letters = DeadLetters::open(&database, 3).unwrap();
    letters.put(&[letter(0), letter(1), letter(1)]).unwrap();
    let new = letters.put(&[letter(1), letter(2)]).unwrap();
    assert_eq!(new, [("invalid_json".into(), 1)].into(), "one of them is kept already");
    assert_eq!(letters.newest(10, None).unwrap().letters, [letter(2), letter(1), letter(0)]);
    assert_eq!((letters.kept(), letters.dropped()), (3, 0));
    letters.put(&(3..10).map(letter).collect::<Vec<_>>()).unwrap();
    drop(letters);

    let letters = DeadLetters::open(&database, 3).unwrap();
    assert_eq!(letters.newest(2, None).unwrap().letters, [letter(9), letter(8)]);
    assert_eq!((letters.kept(), letters.dropped()), (3, 7));
    assert_eq!(
        letters.counts(),
        [("invalid_json".into(), 5), ("plugin_failed:x".into(), 5)].into()
    );
    letters.put(&[letter(9), letter(10)]).unwrap();
    assert_eq!(letters.newest(9, None).unwrap().letters, [letter(10), letter(9), letter(8)]);
    drop(letters);

    let fewer = DeadLetters::open(&database, 0).unwrap();
    fewer.put(&[letter(11)]).unwrap();
    assert_eq!(
        (fewer.kept(), fewer.dropped(), fewer.newest(9, None).unwrap().letters.len()),
        (0, 12, 0)
    );
}

#[test]
fn a_copy_that_is_refused_as_its_origin_was_has_no_second_letter() {
    let folder = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(&Database::open(folder.path()).unwrap(), 10).unwrap();
    let copy = |offset, reason: &str, origin: &str, payload: &[u8]| DeadLetter {
        origin: Some(origin.into()),
        ..DeadLetter::new(reason, "events", 3, offset, 0, Some(payload))
    };
    letters.put(&[letter(2)]).unwrap();
    letters.put(&[copy(20, "invalid_json", "events/3/2", b"payload 2")]).unwrap();
    assert_eq!((letters.kept(), letters.counts()["invalid_json"]), (1, 1));
    // Of each of these something would be lost.
    let others = [
        copy(21, "too_deep", "events/3/2", b"payload 2"),
        copy(22, "invalid_json", "events/3/2", b"payload 9"),
        copy(23, "invalid_json", "events/3/4", b"payload 4"),
        copy(24, "invalid_json", "other/3/2", b"payload 2"),
        copy(25, "invalid_json", "no place", b"payload 2"),
    ];
    letters.put(&others).unwrap();
    assert_eq!(letters.kept(), 6);
}

#[test]
fn two_plugins_may_fail_on_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(&Database::open(folder.path()).unwrap(), 10).unwrap();
    let of = |reason| DeadLetter::new(reason, "events", 0, 0, 0, None);
    letters.put(&[of("plugin_failed:a"), of("plugin_failed:b")]).unwrap();
    assert_eq!(letters.kept(), 2);
}

#[test]
fn one_reason_is_found_among_others() {
    let folder = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(&Database::open(folder.path()).unwrap(), 100).unwrap();
    letters.put(&(0..10).map(letter).collect::<Vec<_>>()).unwrap();
    let found = |limit, reason| letters.newest(limit, Some(reason)).unwrap();
    assert_eq!(
        found(2, "invalid_json"),
        Newest { letters: vec![letter(8), letter(6)], partial: false }
    );
    assert_eq!(found(100, "plugin_failed:x").letters.len(), 5);
    assert_eq!(found(100, "invalid"), Newest { letters: vec![], partial: false });
}

#[test]
fn a_search_ends_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let letters = DeadLetters::open(&Database::open(folder.path()).unwrap(), 10_000).unwrap();
    letters.put(&[letter(1)]).unwrap();
    let large = vec![b'x'; WHOLE];
    let count = (SEARCH / WHOLE) as u64 + 2;
    let of = |offset| DeadLetter::new("invalid_json", "events", 0, offset, 0, Some(&large));
    for offset in 0..count {
        letters.put(&[of(offset)]).unwrap();
    }
    let found = letters.newest(1, Some("plugin_failed:x")).unwrap();
    assert_eq!(found, Newest { letters: vec![], partial: true });
    assert!(!letters.newest(1, None).unwrap().partial, "it did not have to search");
}
