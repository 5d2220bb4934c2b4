//! A batch while it is judged: what becomes of the fields of each record, whatever its format.
//!
//! Keeps what is reused from batch to batch. Refuses by `verdict`; knows duplicates by their keys
//! only, the window finds them.

use super::dedupe::{Key, Keys};
use super::format::Fields;
use super::id::Id;
use super::kinds::Kinds;
use super::property;
use super::reason::Reason;
use super::rules::Rules;
use super::verdict::{self, Event, Types};
use std::sync::Arc;
use tally_event::time::Minute;
use tally_event::{ABSENT, EventBatch, PropertySource, Record};

/// Turns fields into rows of a batch.
#[derive(Debug)]
pub(super) struct BatchJudge {
    pub(super) rules: Rules,
    pub(super) keys: Keys,
    kinds: Kinds,
    minute: Minute,
    /// Rows that have an event id or are copies of earlier records, their offset, the key of that
    /// identity and their content; one that has both is there twice.
    pub(super) identified: Vec<(u32, u64, Key, u32)>,
}

impl BatchJudge {
    pub(super) fn new(rules: Rules, keys: Keys) -> BatchJudge {
        BatchJudge {
            rules,
            keys,
            kinds: Kinds::default(),
            minute: Minute::default(),
            identified: Vec::new(),
        }
    }

    /// Begins a batch with these properties.
    pub(super) fn begin(&mut self, properties: &[Arc<PropertySource>], out: &mut EventBatch) {
        out.clear();
        property::begin(properties, out);
        self.identified.clear();
        self.kinds.begin();
    }

    /// Adds the row of a record, without its properties.
    ///
    /// # Errors
    /// Why it is refused; then nothing of it is in the batch, except perhaps its event type in the
    /// dictionary.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        record: &Record<'_>,
        fields: &Fields<'_>,
        out: &mut EventBatch,
    ) -> Result<(), Reason> {
        let types = &mut Types::Cached(&mut self.kinds, &mut out.kind_names);
        let event =
            verdict::judge(&self.rules, fields, &mut self.minute, types, record.event_ms())?;
        let kind = || out.kind_names.get(usize::from(event.kind)).map_or("", |name| &**name);
        if let Some(event_id) = event.event_id {
            let (key, content) = (self.keys.key(event_id), self.keys.content(&event, kind()));
            self.identified.push((out.offsets.len() as u32, record.offset, key, content));
        }
        if let Some(origin) = record.origin {
            let (key, content) =
                (self.keys.origin(origin.place), self.keys.content(&event, kind()));
            self.identified.push((out.offsets.len() as u32, record.offset, key, content));
        }
        push(out, record.offset, &event);
        Ok(())
    }
}

#[inline(always)]
fn push(out: &mut EventBatch, offset: u64, event: &Event<'_>) {
    let user = column(out, event.user);
    let product = column(out, event.product);
    out.offsets.push(offset);
    out.users.push(user);
    out.products.push(product);
    out.kinds.push(event.kind);
    out.times.push(event.time);
}

#[inline(always)]
fn column(out: &mut EventBatch, id: Id<'_>) -> u64 {
    match id {
        Id::Integer(integer) => integer,
        Id::Text(text) => out.push_text(text),
        Id::Absent => ABSENT,
    }
}
