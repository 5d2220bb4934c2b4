//! What those who watch events live see of an accepted record: its text, and the fields by which
//! they choose. Runs only while somebody watches.
//!
//! The event is shown *as mapped*: the five fields under their own names first, then its other
//! members as the format has them.

use super::id::Id;
use super::verdict::Event;
use super::{Decoder, Field, Reason};
use std::fmt::Write;
use tally_event::time;
use tally_plugin::read;

/// An accepted record, for those who watch events live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFields {
    /// The event as mapped, a JSON object without line breaks.
    pub event: String,
    /// Its type, as it is counted.
    pub event_type: String,
    /// Its user; `None` where `[events] required` lets it be absent.
    pub user: Option<read::Id>,
    /// Its product, likewise.
    pub product: Option<read::Id>,
}

impl Decoder {
    /// What a record shows that is accepted.
    ///
    /// # Errors
    /// Why the record is refused.
    pub fn feed_event(&self, payload: &[u8], record_ms: i64) -> Result<FeedFields, Reason> {
        self.reader.feed_event(&self.judge.rules, payload, record_ms)
    }
}

/// The id as answers carry it.
pub(super) fn shown_id(id: Id<'_>) -> Option<read::Id> {
    match id {
        Id::Absent => None,
        Id::Integer(integer) => Some(read::Id::Integer(integer)),
        Id::Text(text) => Some(read::Id::Text(String::from_utf8_lossy(text).into_owned())),
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
