//! Times at the ends of their range, the clocks of records, and fields that are `null`.

use super::*;

/// What a wrong clock, or one in seconds, stamps on a record, and the ends of 64 bits.
const IMPLAUSIBLE: [i64; 8] =
    [-1, 0, NOW / 1_000, 631_151_999_999, 7_258_118_400_000, NOW * 1_000, i64::MIN, i64::MAX];

#[test]
fn a_record_clock_that_is_not_plausible_refuses_nothing_and_dates_nothing() {
    let decoder = decoder();
    for record_ms in IMPLAUSIBLE {
        for time in [631_152_000_000, NOW, 7_258_118_399_999] {
            let checked =
                decoder.check(event(&format!("\"timestamp\":{time}")).as_bytes(), record_ms);
            assert_eq!(checked.map(|checked| checked.time_ms), Ok(time), "{record_ms}");
        }
        for time in [631_151_999_999, 0, i64::MIN] {
            let refused =
                decoder.check(event(&format!("\"timestamp\":{time}")).as_bytes(), record_ms);
            assert_eq!(refused, Err(Reason::TimestampTooEarly), "{record_ms}");
        }
        for time in [7_258_118_400_000, i64::MAX] {
            let refused =
                decoder.check(event(&format!("\"timestamp\":{time}")).as_bytes(), record_ms);
            assert_eq!(refused, Err(Reason::TimestampInFuture), "{record_ms}");
        }
        let undated = event("\"timestamp\":null");
        assert_eq!(
            decoder.check(undated.as_bytes(), record_ms),
            Err(Reason::TimestampInvalid),
            "{record_ms}"
        );
    }
}

#[test]
fn a_plausible_clock_that_is_behind_refuses_as_far_as_it_is_configured_and_a_hint_names_the_key() {
    let stated = event(&format!("\"timestamp\":{NOW}"));
    let at = |ahead: &str, record_ms| {
        let decoder = configured(|events| events.max_ahead = ahead.into());
        let verdict = decoder.check(stated.as_bytes(), record_ms).map(|checked| checked.time_ms);
        (verdict, verdict.err().and_then(|reason| decoder.hint(reason, stated.as_bytes())))
    };
    let refused = (Err(Reason::TimestampInFuture), Some(Hint::MaxAhead));
    assert_eq!(at("5m", NOW - 600_000), refused);
    assert_eq!(at("10m", NOW - 600_000), (Ok(NOW), None));
    assert_eq!(at("10m", NOW - 600_001), refused);
    assert_eq!(at("off", 631_152_000_000), (Ok(NOW), None));
    assert_eq!(at("9999w", 631_152_000_000), (Ok(NOW), None));
    assert!(Hint::MaxAhead.name().contains("max_ahead"));
    let far = event("\"timestamp\":\"2200-01-01T00:00:00Z\"");
    assert_eq!(
        decoder().hint(Reason::TimestampInFuture, far.as_bytes()),
        None,
        "that no setting allows"
    );
    let seconds = event("\"timestamp\":1700000000");
    assert_eq!(decoder().hint(Reason::TimestampTooEarly, seconds.as_bytes()), Some(Hint::Seconds));
}

#[test]
fn earliest_is_configured() {
    let decoder = configured(|events| events.earliest = "1970-01-01".into());
    let at = |time: i64| {
        decoder.check(event(&format!("\"timestamp\":{time}")).as_bytes(), NOW).map(|of| of.time_ms)
    };
    assert_eq!((at(0), at(-1)), (Ok(0), Err(Reason::TimestampTooEarly)));
    assert_eq!(
        decoder.check(event("\"x\":1").as_bytes(), 0).map(|of| of.time_ms),
        Ok(0),
        "now it is plausible"
    );
}

#[test]
fn null_is_absence_wherever_a_pointer_leads() {
    let mut decoder = configured(|events| {
        events.fields.event_id = "/meta/id".into();
        events.fields.user_id = "/actor/user/id".into();
        events.fields.product_id = "/items/0/id".into();
        events.fields.timestamp = "/meta/at".into();
        events.required = Vec::new();
    });
    let absent = decode(&mut decoder, 0, 0, &[(0, "{}")]).0;
    for record in [
        r#"{"meta":null,"actor":null,"items":null,"event_type":null}"#,
        r#"{"meta":{"id":null,"at":null},"actor":{"user":null},"items":[null]}"#,
        r#"{"meta":{},"actor":{"user":{"id":null}},"items":[{"id":null},{"id":7}]}"#,
    ] {
        let (batch, refused) = decode(&mut decoder, 0, 0, &[(0, record)]);
        assert!(refused.is_empty(), "{record}: {refused:?}");
        assert_eq!(
            (batch.users, batch.products),
            (absent.users.clone(), absent.products.clone()),
            "{record}"
        );
        assert_eq!(
            (batch.times, &batch.kind_names),
            (absent.times.clone(), &absent.kind_names),
            "{record}"
        );
    }
}
