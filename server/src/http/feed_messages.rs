//! What clients are sent of the feed: events, how many they missed, and what is gone. The same on
//! `/ws` and as server-sent events.

use super::codes::Code;
use super::error_message::problem_message;
use super::json_members::push_text;
use super::problem::Problem;
use tally_engine::engine::FeedItem;

/// Behind the members of an event in its message.
pub(crate) const EVENT_END: &str = "}";

/// What the message of an event begins with, up to the members that the feed has of it; `id`: of the
/// subscription, if it has one.
pub(crate) fn event_head(id: Option<&str>) -> String {
    head("event", id)
}

/// The message for an item of the feed; `id`: of the subscription, if it has one.
pub(crate) fn feed_message(id: Option<&str>, item: &FeedItem) -> String {
    match item {
        FeedItem::Event(event) => [&*event_head(id), &*event.body, EVENT_END].concat(),
        FeedItem::Skipped(count) => format!("{}\"count\":{count}}}", head("skipped", id)),
        // Positions need no escapes.
        FeedItem::Gap { from, to } => {
            format!("{}\"from\":\"{from}\",\"to\":\"{to}\"}}", head("gap", id))
        }
    }
}

fn head(kind: &str, id: Option<&str>) -> String {
    let mut text = format!("{{\"type\":\"{kind}\"");
    if let Some(id) = id {
        text.push_str(",\"id\":");
        push_text(&mut text, id);
    }
    text.push(',');
    text
}

/// The message of a listener that an internal error has ended.
pub(crate) fn failed_message(id: Option<&str>) -> String {
    let detail = "the replay of events has ended by an internal error, of which the server's log \
                  has more: go on from a later position, or listen to new events only";
    problem_message(id, &Problem::new(Code::InternalError, detail))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn messages_are_those_of_the_contract() {
        assert_eq!(
            feed_message(Some("a\"b"), &FeedItem::Skipped(120)),
            r#"{"type":"skipped","id":"a\"b","count":120}"#
        );
        let gap = FeedItem::Gap { from: "0:5".parse().unwrap(), to: "0:900".parse().unwrap() };
        assert_eq!(feed_message(None, &gap), r#"{"type":"gap","from":"0:5","to":"0:900"}"#);
    }
}
