//! What is read of a record is what the engine reads: on values that are hard, and on numbers made
//! at random. Only here are the two in one place.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::record::Judge;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use tally_config::EventsConfig;
use tally_decode::{Decoder, DedupeWindow};
use tally_event::{EventBatch, PropertySource, Record};
use tally_plugin::description::PropertyType;

const KINDS: [(PropertyType, Kind); 8] = [
    (PropertyType::Text, Kind::Text),
    (PropertyType::Integer, Kind::Integer),
    (PropertyType::Float, Kind::Float),
    (PropertyType::Decimal(0), Kind::Decimal(0)),
    (PropertyType::Decimal(2), Kind::Decimal(2)),
    (PropertyType::Decimal(18), Kind::Decimal(18)),
    (PropertyType::Bool, Kind::Bool),
    (PropertyType::Time, Kind::Time),
];

const POINTERS: [&str; 9] =
    ["/p", "/p/b", "/p/0", "/p/2/b", "/p/b~1c", "/p/~01", "/user_id", "/product_id/x", "/p/00"];

/// Compares everything that both read of an event with this member.
struct Both {
    judge: Judge,
    decoder: Decoder,
    sources: Vec<PropertySource>,
    /// Values that were there.
    seen: usize,
}

impl Both {
    fn new() -> Both {
        let events = EventsConfig::default();
        let settings = serde_json::from_value(serde_json::to_value(&events).unwrap()).unwrap();
        let (mut judge, mut decoder) =
            (Judge::new(settings).unwrap(), Decoder::new(&events).unwrap());
        let mut sources = Vec::new();
        for pointer in POINTERS {
            for (n, (kind, own)) in KINDS.into_iter().enumerate() {
                let at = judge
                    .read(&Property { name: n.to_string(), pointer: pointer.into(), kind: own })
                    .unwrap();
                assert_eq!(at, sources.len());
                sources.push(PropertySource { pointer: pointer.into(), kind });
            }
        }
        decoder.read_properties(&sources).unwrap();
        Both { judge, decoder, sources, seen: 0 }
    }

    fn agree(&mut self, member: &str) {
        let event = format!(r#"{{"user_id":"u1","product_id":10,"event_type":"buy",{member}}}"#);
        let record = Record::new(0, 1_704_067_200_000, Some(event.as_bytes()));
        let (mut batch, mut refused) = (EventBatch::default(), Vec::new());
        self.decoder.decode(0, &[record], &mut DedupeWindow::new(0), 0, &mut batch, &mut refused);
        let own = self.judge.event(Some(event.as_bytes()), 1_704_067_200_000);
        assert_eq!(own.is_some(), refused.is_empty(), "{member}");
        let Some(own) = own else { return };
        for (n, source) in self.sources.iter().enumerate() {
            let column = batch
                .properties
                .iter()
                .find(|column| column.source == Arc::new(source.clone()))
                .unwrap();
            let theirs = column.value(0).map(|bits| match source.kind {
                PropertyType::Text => {
                    Scalar::Text(String::from_utf8(batch.text(bits as usize).to_vec()).unwrap())
                }
                PropertyType::Float => Scalar::Float(f64::from_bits(bits as u64)),
                PropertyType::Bool => Scalar::Bool(bits == 1),
                _ => Scalar::Whole(column.number(0).unwrap()),
            });
            assert_eq!(
                own.properties[n], theirs,
                "{member} at {} as {:?}",
                source.pointer, source.kind
            );
            self.seen += usize::from(theirs.is_some());
        }
    }
}

#[test]
fn what_is_read_is_what_the_engine_reads() {
    let mut both = Both::new();
    for value in [
        "null",
        "true",
        "false",
        "\"true\"",
        "\"\"",
        "\"a\\u00fcb\\n\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\" 1\"",
        "\"1 \"",
        "\"+1\"",
        "\".5\"",
        "\"1.\"",
        "\"01\"",
        "\"NaN\"",
        "\"1e5\"",
        "\"[1\"",
        "\"__other__\"",
        "\"2024-01-01T00:00:00+01:00\"",
        "\"0000-01-01T00:00:00+23:00\"",
        "\"today\"",
        "[1]",
        "[\"x\",\"y\",{\"b\":\"z\"}]",
        "[]",
        "{}",
        "{\"b\":1,\"b\":2}",
        "{\"\\u0062\":3,\"\\ud800\":4}",
        "{\"\\ud800\":4,\"b\":\"5\"}",
        "{\"b/c\":7,\"~1\":8,\"0\":9,\"00\":10}",
        "{ \"b\" : [ 1 , 2 ] , \"0\" : -5 }",
    ] {
        both.agree(&format!("\"p\":{value}"));
        both.agree(&format!("\"p\":1,\"p\" : {value}"));
        both.agree(&format!("\"\\u0070\":{value}"));
    }
    for length in [254, 255, 256] {
        both.agree(&format!("\"p\":\"{}\"", "x".repeat(length)));
    }
    both.agree(&format!("\"p\":{}e-65000", "1".repeat(30_000)));
    both.agree(&format!("\"p\":0.{}7e30001", "0".repeat(30_000)));
    both.agree("\"p\":1e99999999999999999999");
    both.agree("\"p\":-1e-99999999999999999999");
    both.agree("\"p\":0e99999999999999999999");
    assert!(both.seen > 300, "{}", both.seen);
}

#[test]
fn numbers_are_read_alike_to_the_last_digit() {
    let (mut both, mut random) = (Both::new(), SmallRng::seed_from_u64(3));
    for _ in 0..20_000 {
        let digits = |random: &mut SmallRng, most: usize| -> String {
            let count = random.random_range(1..=most);
            // Many fives, nines and zeros, where rounding and ends are.
            (0..count)
                .map(|_| {
                    *[b'0', b'5', b'9', b'4', b'1'].get(random.random_range(0..5)).unwrap() as char
                })
                .collect()
        };
        let mut number = String::from(if random.random_bool(0.3) { "-" } else { "" });
        let whole = digits(&mut random, 40);
        number.push_str(match whole.trim_start_matches('0') {
            "" => "0",
            whole => whole,
        });
        if random.random_bool(0.6) {
            number.push_str(&format!(".{}", digits(&mut random, 45)));
        }
        if random.random_bool(0.4) {
            number.push_str(&format!("e{}", random.random_range(-45..45)));
        }
        both.agree(&format!("\"p\":{number}"));
        both.agree(&format!("\"p\":\"{number}\""));
    }
    assert!(both.seen > 40_000, "{}", both.seen);
}
