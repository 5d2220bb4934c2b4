//! The differential test: the decoder against serde_json with the rules spelled out a second time,
//! on generated and mutated records.

use super::{NOW, decode, decoder};
use crate::{Decoder, MAX_BYTES, MAX_DEPTH};
use proptest::prelude::*;

/// serde_json's reading of a record: the five members and the rest ignored, as a derived struct
/// would.
mod reference {
    use super::super::AHEAD;
    use super::NOW;
    use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
    use std::fmt;
    use tally_event::time;

    #[derive(Debug, Default)]
    pub(super) struct Fields(pub(super) [Option<Kind>; 5]);

    /// A value as far as the verdict sees it.
    #[derive(Clone, Debug, PartialEq)]
    pub(super) enum Kind {
        Text(String),
        Natural(u64),
        Negative(i64),
        OtherNumber,
        Null,
        Other,
    }

    impl<'de> Deserialize<'de> for Fields {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Members;
            impl<'de> Visitor<'de> for Members {
                type Value = Fields;
                fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                    out.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                    let mut fields = Fields::default();
                    while let Some(key) = map.next_key::<String>()? {
                        let names =
                            ["event_id", "user_id", "product_id", "event_type", "timestamp"];
                        match names.iter().position(|name| *name == key) {
                            None => drop(map.next_value::<IgnoredAny>()?),
                            Some(n) if fields.0[n].is_some() => {
                                return Err(A::Error::custom("duplicate field"));
                            }
                            Some(n) => fields.0[n] = Some(map.next_value::<Kind>()?),
                        }
                    }
                    Ok(fields)
                }
            }
            from.deserialize_map(Members)
        }
    }

    impl<'de> Deserialize<'de> for Kind {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            Ok(match serde_json::Value::deserialize(from)? {
                serde_json::Value::String(text) => Kind::Text(text),
                serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                    (Some(natural), _) => Kind::Natural(natural),
                    (_, Some(negative)) => Kind::Negative(negative),
                    // No number of the pieces is whole and beyond what a float tells exactly, but
                    // for such that are no id.
                    _ => match number.as_f64() {
                        Some(float) if float.fract() == 0.0 && (0.0..1e19).contains(&float) => {
                            Kind::Natural(float as u64)
                        }
                        Some(float) if float.fract() == 0.0 && (-9e18..0.0).contains(&float) => {
                            Kind::Negative(float as i64)
                        }
                        _ => Kind::OtherNumber,
                    },
                },
                serde_json::Value::Null => Kind::Null,
                _ => Kind::Other,
            })
        }
    }

    /// Nesting of a text, whatever it is; brackets in strings do not count.
    pub(super) fn depth(text: &str) -> usize {
        let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
        for byte in text.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        deepest
    }

    /// The rules of the contract, spelled out a second time over serde_json's values: user,
    /// product, event id, type, time.
    pub(super) fn accept(fields: &Fields) -> Option<(String, String, Option<String>, String, i64)> {
        let [event_id, user, product, kind, when] = &fields.0;
        let text_ok =
            |text: &String| (1..=64).contains(&text.len()) && !text.chars().any(char::is_control);
        let id = |value: &Option<Kind>| match value {
            Some(Kind::Natural(integer)) if *integer < 1 << 53 => Some(integer.to_string()),
            Some(Kind::Text(text)) if text_ok(text) && text != "__other__" => Some(text.clone()),
            _ => None,
        };
        let event_id = match event_id {
            None | Some(Kind::Null) => None,
            Some(Kind::Text(text)) if text_ok(text) => Some(text.clone()),
            _ => return None,
        };
        let kind = match kind {
            Some(Kind::Text(text)) => {
                let mut letters = text.chars();
                let first = letters.next().is_some_and(|c| c.is_ascii_lowercase());
                (first
                    && text.len() <= 32
                    && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                .then(|| text.clone())?
            }
            _ => return None,
        };
        let when = match when {
            None | Some(Kind::Null) => NOW,
            Some(Kind::Natural(ms)) => i64::try_from(*ms).ok()?,
            Some(Kind::Negative(ms)) => *ms,
            Some(Kind::Text(text)) => time::rfc3339(text.as_bytes())?,
            _ => return None,
        };
        let range = 631_152_000_000..=NOW + AHEAD;
        range.contains(&when).then_some((id(user)?, id(product)?, event_id, kind, when))
    }
}

/// Compares the decoder with serde_json on one text.
fn compare(decoder: &mut Decoder, text: &str) {
    let expected = if text.len() <= MAX_BYTES && reference::depth(text) <= MAX_DEPTH {
        serde_json::from_str::<reference::Fields>(text.strip_prefix('\u{feff}').unwrap_or(text))
            .ok()
            .and_then(|fields| reference::accept(&fields))
    } else {
        None
    };
    let (batch, refused) = decode(decoder, 0, 0, &[(0, text)]);
    let id = |value: u64| match value & tally_event::TEXT_BIT {
        0 => value.to_string(),
        _ => String::from_utf8(batch.text((value & !tally_event::TEXT_BIT) as usize).to_vec())
            .unwrap(),
    };
    assert_eq!(batch.len() + refused.len(), 1, "{text}");
    let event_id = decoder
        .check(text.as_bytes(), NOW)
        .ok()
        .and_then(|checked| checked.event_id)
        .map(String::from);
    let found = (!batch.is_empty()).then(|| {
        (
            id(batch.users[0]),
            id(batch.products[0]),
            event_id,
            batch.kind_names[0].to_string(),
            batch.times[0],
        )
    });
    assert_eq!(found, expected, "{text:?}: {refused:?}");
    if found.is_some() {
        let fed = decoder.feed_event(text.as_bytes(), NOW).unwrap().event;
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&fed).is_ok(), "{fed}");
    }
}

/// Pieces that generated and mutated records are made of.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "\n",
    "\t",
    "0",
    "1",
    "-",
    "-0",
    "01",
    "1.0",
    "1e3",
    "1E+9",
    "1e999",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "123456789012345678901234567890",
    "1700000000000",
    "99999999",
    "true",
    "false",
    "null",
    "nul",
    "NaN",
    "\"\"",
    "\"a\"",
    "\"\\u0041\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\u00\"",
    "\"\\x\"",
    "\"a\\nb\"",
    "\"ü€😀\"",
    "\"\u{7f}\"",
    "\"\u{85}\"",
    "\u{1}",
    "\u{feff}",
    "\"__other__\"",
    "\"view\"",
    "\"VIEW\"",
    "\"v\\u0069ew\"",
    "\"2023-06-01T12:00:00.5Z\"",
    "\"2023-06-01T12:00:00\"",
    "\"event_id\"",
    "\"user_id\"",
    "\"product_id\"",
    "\"event_type\"",
    "\"timestamp\"",
    "\"event\\u005fid\"",
    "\"user_i\"",
    "\"7\"",
    "\"007\"",
    "\"0194f3a0-1b2c-7d3e-8f4a-0123456789ab\"",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "{\"a\":{\"b\":[{}, []]}}",
    "{\"user_id\":1}",
    "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefg\"",
];

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PIECES)
}

/// Mostly right values, so that many records pass.
fn member() -> impl Strategy<Value = String> {
    let good = prop::sample::select(
        &[
            "\"event_id\":\"e1\"",
            "\"user_id\":7",
            "\"user_id\":\"u1\"",
            "\"product_id\":\"p\\u0031\"",
            "\"product_id\":0",
            "\"event_type\":\"buy\"",
            "\"timestamp\":1700000000000",
            "\"timestamp\":631152000000",
            "\"timestamp\":1.7e12",
            "\"user_id\":5.0",
            "\"x\":[1,2.5e-3,{\"y\":null}]",
            "\"price\":\"12.50\"",
            "\"deep\":{\"user_id\":3}",
        ][..],
    );
    prop_oneof![
        6 => good.prop_map(String::from),
        1 => (piece(), piece()).prop_map(|(key, value)| format!("{key}:{value}")),
        1 => (prop::sample::select(&["event_id", "user_id", "product_id", "event_type", "timestamp"][..]), piece()).prop_map(|(key, value)| format!("\"{key}\" : {value}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    /// 2,000 × (1 record + 54 mutations of it): more than 100,000 records a run. The decoder is
    /// kept, so predictions are wrong, too.
    #[test]
    fn agrees_with_serde_json(
        members in prop::collection::vec(member(), 0..5),
        order in any::<[prop::sample::Index; 3]>(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, piece(), any::<u8>()), 54),
    ) {
        let mut decoder = decoder();
        let mut members = members;
        for (place, needed) in order.iter().zip(["\"user_id\":\"u\"", "\"product_id\":1", "\"event_type\":\"view\""]) {
            let key = needed.split(':').next().unwrap_or_default();
            if !members.iter().any(|member| member.starts_with(key)) {
                let place = place.index(members.len() + 1);
                members.insert(place, needed.into());
            }
        }
        let record = format!("{{{}}}", members.join(","));
        compare(&mut decoder, &record);
        for (at, how, piece, byte) in mutations {
            let mut changed = record.clone().into_bytes();
            let at = at.index(changed.len());
            match how {
                0 => changed[at] = byte & 0x7F,
                1 => drop(changed.splice(at..at, piece.bytes())),
                2 => drop(changed.remove(at)),
                _ => changed.truncate(at),
            }
            // What is not UTF-8 never reaches a parser.
            if let Ok(text) = std::str::from_utf8(&changed) {
                compare(&mut decoder, text);
            }
        }
    }

    #[test]
    fn agrees_with_serde_json_on_noise(pieces in prop::collection::vec(piece(), 0..20)) {
        compare(&mut decoder(), &pieces.concat());
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoder().check(&bytes, NOW);
        let _ = decoder().feed_event(&bytes, NOW);
    }
}
