//! Shows the events of a batch to the listeners of the feed, in log order. Without listeners it
//! only moves the feed along.

use super::judged_tail::JudgedRecords;
use crate::decode::{Decoder, FeedFields};
use crate::event::{EventBatch, Record};
use crate::feed::{Feed, NewEvent};

/// Shows the events of a batch; `records` are those it was decoded from. Rows below `from` were
/// shown before.
pub(super) fn publish_events(
    feed: &Feed,
    decoder: &Decoder,
    batch: &EventBatch,
    records: &[Record<'_>],
    from: u64,
) {
    let Some(to) = records.last().map(|last| last.offset + 1) else { return };
    if feed.begins(batch.partition, to) {
        let events = events_of(decoder, batch, records, from);
        feed.publish(batch.partition, to, events);
    }
}

/// The same of records that were read beside counting.
pub(super) fn show_events(feed: &Feed, judged: &JudgedRecords<'_>) {
    publish_events(feed, judged.decoder, judged.batch, judged.records, judged.from);
}

/// The events of a batch at offset `from` and above, as listeners see them.
pub(super) fn events_of(
    decoder: &Decoder,
    batch: &EventBatch,
    records: &[Record<'_>],
    from: u64,
) -> Vec<NewEvent> {
    let mut events = Vec::with_capacity(batch.len());
    let mut records = records.iter().filter(|record| record.offset >= from);
    for offset in batch.offsets.iter().filter(|offset| **offset >= from) {
        let Some(record) = records.find(|record| record.offset == *offset) else { continue };
        let Some(payload) = record.payload else { continue };
        match decoder.feed_event(payload, record.event_ms()) {
            Ok(FeedFields { event, event_type, user, product }) => {
                let (next, event_type) = (offset + 1, event_type.into());
                events.push(NewEvent { next, event_type, user, product, event });
            }
            // Decoding accepted the record: the two readings of it disagree.
            Err(reason) => {
                tracing::error!(offset, "an event that was counted cannot be shown: {reason}")
            }
        }
    }
    events
}
