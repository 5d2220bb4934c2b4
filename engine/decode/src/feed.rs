//! The text of an accepted record for those who watch events live. Runs only while somebody does.
//!
//! The event is shown *as mapped*: the five fields under their own names first, then its other members as they stand in the
//! record, byte by byte (no number loses digits). A member that a field was taken from, or that has a field's name, is not repeated.

use super::id::Id;
use super::property::Found;
use super::scan::{Shape, members};
use super::text::unescape;
use super::verdict::{self, Types};
use super::{Decoder, Field, Reason};
use std::borrow::Cow;
use std::fmt::Write;
use tally_event::time;

impl Decoder {
    /// `{"type":"event","position":"0:17","event":{…}}` of a record that is accepted; `next_offset` is the offset after it. No line
    /// breaks.
    ///
    /// # Errors
    /// Why the record is refused.
    pub fn feed_text(
        &self,
        payload: &[u8],
        partition: u32,
        next_offset: u64,
        record_ms: i64,
    ) -> Result<String, Reason> {
        let mut kind = String::new();
        let (shape, found) = (&mut Shape::default(), &mut Found::default());
        let event = verdict::judge(&self.plan, shape, found, &mut Types::Named(&mut kind), payload, record_ms)?;
        let mut out = String::with_capacity(payload.len() + 128);
        let mut put = |text: &str| out.push_str(text);
        put(&format!("{{\"type\":\"event\",\"position\":\"{partition}:{next_offset}\",\"event\":{{"));
        if let Some(event_id) = &event.event_id {
            put(&format!("\"event_id\":{},", quoted(event_id)));
        }
        for (field, id) in [(Field::UserId, &event.user), (Field::ProductId, &event.product)] {
            match id {
                Id::Absent => {}
                Id::Integer(integer) => put(&format!("\"{}\":{integer},", field.name())),
                Id::Text(text) => put(&format!("\"{}\":{},", field.name(), quoted(text))),
            }
        }
        put(&format!("\"event_type\":{},\"timestamp\":\"{}\"", quoted(kind.as_bytes()), time::to_text(event.time)));
        for (key, value) in members(verdict::text(payload)?.0)? {
            if !self.is_mapped(key) {
                // Outside of strings a control character is white space, inside there is none.
                let line: String = String::from_utf8_lossy(value)
                    .replace(|letter: char| letter.is_ascii_control() && letter != '\x7F', " ");
                let _ = write!(out, ",\"{}\":{line}", String::from_utf8_lossy(key));
            }
        }
        out.push_str("}}");
        Ok(out)
    }

    /// Whether a member (its raw key) is shown as one of the five fields.
    fn is_mapped(&self, raw_key: &[u8]) -> bool {
        let key = if raw_key.contains(&b'\\') { Cow::Owned(unescape(raw_key)) } else { Cow::Borrowed(raw_key) };
        Field::ALL.iter().any(|field| field.name().as_bytes() == &*key)
            || self.plan.top_keys.iter().any(|top| top.as_bytes() == &*key)
    }
}

fn quoted(text: &[u8]) -> String {
    serde_json::Value::from(String::from_utf8_lossy(text)).to_string()
}
