//! Publishes the events of a batch to the listeners of the feed, as text, in log order.

use crate::decode::Decoder;
use crate::event::{EventBatch, Record};
use crate::feed::Feed;

/// Publishes the events of a batch; `records` are those it was decoded from. Rows below `from` were
/// published before.
pub(super) fn publish_events(
    feed: &Feed,
    decoder: &Decoder,
    batch: &EventBatch,
    records: &[Record<'_>],
    from: u64,
) {
    let mut records = records.iter().filter(|record| record.offset >= from);
    for offset in batch.offsets.iter().filter(|offset| **offset >= from) {
        let Some(record) = records.find(|record| record.offset == *offset) else { continue };
        let Some(payload) = record.payload else { continue };
        match decoder.feed_text(payload, batch.partition, offset + 1, record.timestamp_ms) {
            Ok(text) => feed.show(text),
            // Decoding accepted the record: the two readings of it disagree.
            Err(reason) => {
                tracing::error!(offset, "an event that was counted cannot be published: {reason}")
            }
        }
    }
}
