//! A record of a file: its members as they are written, so that no number loses digits, and no
//! member is lost if a key is given twice.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;

/// A JSON object, its values as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record(Vec<(String, Box<RawValue>)>);

impl Record {
    /// The object that a text is.
    ///
    /// # Errors
    /// Why it is not a record.
    pub(crate) fn read(json: &[u8]) -> Result<Record, String> {
        match serde_json::from_slice(json) {
            Ok(record) => Ok(record),
            Err(error) if error.is_data() => Err("is not a JSON object".into()),
            Err(error) => Err(format!("is not JSON: {error}")),
        }
    }

    /// Adds a text under a key.
    pub(crate) fn push_text(&mut self, key: &str, text: &str) {
        // A text always serialises.
        self.0.extend(to_raw_value(text).ok().map(|raw| (key.to_owned(), raw)));
    }

    /// The value at the end of these names, unless it is `null`.
    ///
    /// # Errors
    /// A key on the way is given twice.
    pub(crate) fn get(&self, names: &[String]) -> Result<Option<Box<RawValue>>, String> {
        let Some((name, rest)) = names.split_first() else { return Ok(None) };
        let mut found = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let Some(value) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(format!("names {name:?} twice"));
        }
        within(value, rest)
    }

    /// Puts a value there, making objects on the way. A value on the way that is not an object is
    /// replaced.
    pub(crate) fn set(&mut self, names: &[String], value: Box<RawValue>) {
        let Some((name, rest)) = names.split_first() else { return };
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = put(Some(&**old), rest, value),
            None => self.0.push((name.clone(), put(None, rest, value))),
        }
    }

    /// Takes out every member of this key.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }
}

/// The replacement of `old` once a value was put there.
fn put(old: Option<&RawValue>, names: &[String], value: Box<RawValue>) -> Box<RawValue> {
    let Some((name, rest)) = names.split_first() else { return value };
    let items = old.and_then(|old| serde_json::from_str::<Vec<Box<RawValue>>>(old.get()).ok());
    if let (Some(mut items), Ok(index)) = (items, name.parse::<usize>())
        && let Some(item) = items.get_mut(index)
    {
        *item = put(Some(&**item), rest, value.clone());
        return to_raw_value(&items).unwrap_or(value);
    }
    let mut record =
        old.and_then(|old| Record::read(old.get().as_bytes()).ok()).unwrap_or_default();
    record.set(names, value.clone());
    // An object of JSON values is JSON.
    RawValue::from_string(record.to_string()).unwrap_or(value)
}

fn within(value: &RawValue, names: &[String]) -> Result<Option<Box<RawValue>>, String> {
    let Some((name, rest)) = names.split_first() else {
        return Ok((value.get() != "null").then(|| value.to_owned()));
    };
    match value.get().as_bytes().first() {
        Some(b'{') => Record::read(value.get().as_bytes())?.get(names),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
            let index = name.parse::<usize>().ok().filter(|index| index.to_string() == *name);
            match index.and_then(|index| items.get(index).copied()) {
                Some(item) => within(item, rest),
                None => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{")?;
        for (n, (key, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(out, "{comma}{}:{value}", serde_json::Value::from(key.as_str()))?;
        }
        out.write_str("}")
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct RecordVisitor;
        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = Record;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Record(members))
            }
        }
        from.deserialize_map(RecordVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn names(pointer: &str) -> Vec<String> {
        pointer.split('/').skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is_written() {
        let text = r#"{"price":12.345678901234567890,"n":123456789012345678901234567890,"x":1,"x":2,"a":{"b":[{"c":5.0},7]}}"#;
        let mut record = Record::read(text.as_bytes()).unwrap();
        assert_eq!(record.to_string(), text);
        assert_eq!(record.get(&names("/a/b/0/c")).unwrap().unwrap().get(), "5.0");
        assert!(
            record.get(&names("/a/b/00/c")).unwrap().is_none()
                && record.get(&names("/price/x")).unwrap().is_none()
        );
        assert!(record.get(&names("/x")).unwrap_err().contains("twice"));
        record.set(&names("/a/d"), to_raw_value(&1).unwrap());
        record.set(&names("/a/b/1"), to_raw_value("8").unwrap());
        record.remove("x");
        assert!(record.to_string().ends_with(r#""a":{"b":[{"c":5.0},"8"],"d":1}}"#), "{record}");
    }

    #[test]
    fn what_is_no_object_is_named() {
        assert!(Record::read(b"[1]").unwrap_err().contains("not a JSON object"));
        assert!(Record::read(b"{").unwrap_err().contains("not JSON"));
        assert!(Record::read(b"{} {}").unwrap_err().contains("not JSON"));
    }
}
