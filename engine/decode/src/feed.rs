//! The text of an accepted record for those who watch events live. Runs only while somebody does.
//!
//! The event is shown *as mapped*: the five fields under their own names first, then its other
//! members as the format has them.

use super::id::Id;
use super::verdict::Event;
use super::{Decoder, Field, Reason};
use std::fmt::Write;
use tally_event::time;

impl Decoder {
    /// `{"type":"event","position":"0:17","event":{…}}` of a record that is accepted; `next_offset`
    /// is the offset after it. No line breaks.
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
        let event = self.reader.event_text(&self.judge.rules, payload, record_ms)?;
        Ok(format!(
            "{{\"type\":\"event\",\"position\":\"{partition}:{next_offset}\",\"event\":{{{event}}}}}"
        ))
    }
}

/// Appends the five fields, as members of a JSON object. `kind`: the name of its event type.
pub(super) fn write_fields(event: &Event<'_>, kind: &str, out: &mut String) {
    let mut put = |text: &str| out.push_str(text);
    if let Some(event_id) = event.event_id {
        put(&format!("\"event_id\":{},", quoted(event_id)));
    }
    for (field, id) in [(Field::UserId, event.user), (Field::ProductId, event.product)] {
        match id {
            Id::Absent => {}
            Id::Integer(integer) => put(&format!("\"{}\":{integer},", field.name())),
            Id::Text(text) => put(&format!("\"{}\":{},", field.name(), quoted(text))),
        }
    }
    let _ = write!(
        out,
        "\"event_type\":{},\"timestamp\":\"{}\"",
        quoted(kind.as_bytes()),
        time::to_text(event.time)
    );
}

fn quoted(text: &[u8]) -> String {
    serde_json::Value::from(String::from_utf8_lossy(text)).to_string()
}
