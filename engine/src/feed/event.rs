//! An event as listeners get it: its text with its place, and what listeners choose by.
//!
//! Its texts are made once and shared by all listeners. Knows neither a ring nor a listener.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use tally_plugin::read::Id;

/// What an event takes in memory besides its texts, bytes: its fields, their headers, its place in
/// the ring.
const OVERHEAD: usize = 256;

/// A new event, before it has a place among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The offset after its record.
    pub next: u64,
    /// Its type, as it is counted.
    pub event_type: Box<str>,
    /// Its user; `None` where `[events] required` lets it be absent.
    pub user: Option<Id>,
    /// Its product, likewise.
    pub product: Option<Id>,
    /// The event as mapped, a JSON object without line breaks.
    pub event: String,
}

/// An event of the feed.
#[derive(Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// Its partition.
    pub partition: u32,
    /// The offset after its record.
    pub next: u64,
    /// Its type, as it is counted.
    pub event_type: Box<str>,
    /// Its user; `None` where `[events] required` lets it be absent.
    pub user: Option<Id>,
    /// Its product, likewise.
    pub product: Option<Id>,
    /// The position of the whole feed after this event: from there on it goes on without loss.
    pub cursor: Arc<str>,
    /// Members of a JSON object: `"position":"0:17","cursor":"0:17,1:9","event":{…}`.
    pub body: Box<str>,
}

impl FeedEvent {
    /// An event of a partition, at its place in the feed. `around`: that of its partition.
    pub fn new(partition: u32, new: NewEvent, around: &CursorText) -> FeedEvent {
        let NewEvent { next, event_type, user, product, event } = new;
        let cursor = around.at(next);
        let body = format!(
            "\"position\":\"{partition}:{next}\",\"cursor\":\"{cursor}\",\"event\":{event}"
        );
        FeedEvent {
            partition,
            next,
            event_type,
            user,
            product,
            cursor: cursor.into(),
            body: body.into(),
        }
    }

    /// The same event with another cursor.
    pub(super) fn with_cursor(&self, cursor: &str) -> FeedEvent {
        let FeedEvent { partition, next, event_type, user, product, body, .. } = self;
        // Before it are digits, and the names of position and cursor.
        let event = body.find("\"event\":").map_or("", |at| &body[at..]);
        let body = format!("\"position\":\"{partition}:{next}\",\"cursor\":\"{cursor}\",{event}");
        FeedEvent {
            partition: *partition,
            next: *next,
            event_type: event_type.clone(),
            user: user.clone(),
            product: product.clone(),
            cursor: cursor.into(),
            body: body.into(),
        }
    }

    /// Bytes that it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let id = |id: &Option<Id>| match id {
            Some(Id::Text(text)) => text.len(),
            Some(Id::Integer(_)) | None => 0,
        };
        let texts = self.body.len() + self.cursor.len() + self.event_type.len();
        (texts + id(&self.user) + id(&self.product) + OVERHEAD) as u64
    }
}

/// What cursors of one partition's events have in common: the offsets of all others.
#[derive(Debug)]
pub struct CursorText {
    /// Up to the offset of the partition.
    before: String,
    /// What follows it.
    after: String,
}

impl CursorText {
    /// Of a partition, where the feed stands at `position`.
    pub fn around(position: &BTreeMap<u32, u64>, partition: u32) -> CursorText {
        let (mut before, mut after) = (String::new(), String::new());
        for (other, next) in position {
            // Writing to a text does not fail.
            let _ = match other.cmp(&partition) {
                std::cmp::Ordering::Less => write!(before, "{other}:{next},"),
                std::cmp::Ordering::Equal => Ok(()),
                std::cmp::Ordering::Greater => write!(after, ",{other}:{next}"),
            };
        }
        let _ = write!(before, "{partition}:");
        CursorText { before, after }
    }

    /// The cursor where that partition stands at `next`.
    fn at(&self, next: u64) -> String {
        let CursorText { before, after } = self;
        format!("{before}{next}{after}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;

    #[test]
    fn a_cursor_is_the_position_of_all_partitions_and_moves_with_its_own() {
        let position: BTreeMap<u32, u64> = (0..64).map(|partition| (partition, 10)).collect();
        for partition in [0, 1, 31, 63, 64] {
            let around = CursorText::around(&position, partition);
            for next in [0, 11, 12_345] {
                let mut expected = Position(position.clone());
                expected.0.insert(partition, next);
                assert_eq!(around.at(next), expected.to_string());
            }
        }
        assert_eq!(CursorText::around(&BTreeMap::new(), 3).at(7), "3:7");
    }
}
