//! JSON keeps the contract of formats, and what is its own: escapes, and what it takes refused
//! payloads for.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use crate::contract;
use crate::format::Number;

/// A record with these members.
fn write(
    fields: &[(Field, Value<'_>)],
    properties: &[(&str, PropertyValue<'_>)],
) -> Option<Vec<u8>> {
    let quoted =
        |text: &[u8]| serde_json::Value::from(std::str::from_utf8(text).unwrap()).to_string();
    let field = |value: &Value<'_>| match value {
        Value::Absent => "null".into(),
        Value::Text(text) => quoted(text),
        Value::Number(Number::Natural(integer)) => integer.to_string(),
        Value::Number(Number::Negative(integer)) => integer.to_string(),
        Value::Number(Number::Huge) => "123456789012345678901234567890".into(),
        Value::Number(Number::Other) => "1.5".into(),
        Value::Other => "[true]".into(),
    };
    let property = |value: &PropertyValue<'_>| match value {
        PropertyValue::Absent => "null".into(),
        PropertyValue::Text(text) => quoted(text),
        PropertyValue::Number(written) => String::from_utf8(written.to_vec()).unwrap(),
        PropertyValue::Bool(value) => value.to_string(),
        PropertyValue::Other => "{}".into(),
    };
    let fields = fields.iter().map(|(of, value)| format!("\"{}\":{}", of.name(), field(value)));
    let properties =
        properties.iter().map(|(name, value)| format!("\"{name}\":{}", property(value)));
    let members: Vec<String> = fields.chain(properties).collect();
    Some(format!("{{{}}}", members.join(",")).into())
}

#[test]
fn json_keeps_the_contract() {
    contract::run(&KIND, write, &[]);
}

#[test]
fn texts_with_escapes_are_what_they_say_wherever_they_stand() {
    let events = EventsConfig::default();
    let json = Json { plan: Plan::new(&events.fields).unwrap(), paths: Paths::default() };
    let mut memory = json.memory();
    let record =
        br#"{"timestamp":"\u0032","product_id":"plain","user_id":"\u00fc\n","event_id":"","event_type":"v\u0069ew"}"#;
    let long = br#"{"event_id":"\ud83d\ude00 and more"}"#;
    for _ in 0..2 {
        let fields = json.read(&mut memory, record).unwrap();
        let texts = ["", "ü\n", "plain", "view", "2"].map(|text| Value::Text(text.as_bytes()));
        assert_eq!((fields.values, fields.clean), (texts, false));
        let fields = json.read(&mut memory, long).unwrap();
        assert_eq!(fields.values[0], Value::Text("😀 and more".as_bytes()));
        assert_eq!(fields.values[1..], [Value::Absent; 4]);
    }
    assert!(json.read(&mut memory, br#"{"event_id":"e"}"#).unwrap().clean);
}

#[test]
fn fields_with_one_pointer_have_one_value() {
    let mut events = EventsConfig::default();
    events.fields.product_id = "/user_id".into();
    let json = Json { plan: Plan::new(&events.fields).unwrap(), paths: Paths::default() };
    let mut memory = json.memory();
    let fields = json.read(&mut memory, br#"{"user_id":"\u0061","product_id":"b"}"#).unwrap();
    assert_eq!(fields.values[1..3], [Value::Text(b"a"); 2]);
}

#[test]
fn a_frame_is_a_zero_an_id_and_more() {
    assert!(is_framed(b"\0\0\0\0\x01abc"));
    assert!(
        !is_framed(b"")
            && !is_framed(b"\0")
            && !is_framed(b"\0\0\0\0\x01")
            && !is_framed(b"{\"a\":1}")
    );
}
