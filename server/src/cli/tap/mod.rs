//! `tally tap`: new events of a running engine, one a line, until it is ended.
//!
//! Follows the events of `/ws` with a filter that the engine applies. A connection that is lost is
//! made again, later each time, and goes on from the cursor of the last event: what the log still
//! holds is not missed. What is missed is said on stderr. Events go to stdout as they were written;
//! when nobody reads them any more, it ends.

#[cfg(test)]
mod tests;

use super::Failure;
use super::engine_args::Tap;
use super::following::{self, FollowStep, Following};
use super::heard::{Heard, hear};
use super::output::{json_line, note, thousands};
use serde_json::{Map, Value, json};

/// What is followed, how far it came, and where it goes.
struct Tapping<'o> {
    /// The filter, as the engine takes it.
    events: Value,
    /// From where to go on.
    since: Option<String>,
    /// How many events are still wanted.
    left: Option<u64>,
    /// Whether messages are printed whole.
    whole: bool,
    /// Takes a line of output; false: nobody reads it.
    out: &'o mut dyn FnMut(&str) -> bool,
    /// Takes a line for people.
    note: &'o mut dyn FnMut(&str),
}

pub(crate) fn run(args: &Tap) -> Result<(), Failure> {
    let target = args.engine.target()?;
    let (url, place) = (target.socket("/ws?events=none")?, target.to_string());
    let (mut out, mut say) = (json_line, note);
    let mut tapping = Tapping {
        events: filter(args),
        since: args.since.as_ref().map(ToString::to_string),
        left: args.limit,
        whole: args.json,
        out: &mut out,
        note: &mut say,
    };
    let ended = following::run(&mut tapping, (&url, &place));
    if let Some(since) = tapping.since.filter(|since| !since.is_empty()) {
        note(&format!("note: --since {since} goes on from here"));
    }
    ended
}

/// The filter of a subscription: only keys that were given.
fn filter(args: &Tap) -> Value {
    let mut events = Map::new();
    if !args.types.is_empty() {
        events.insert("event_types".into(), json!(args.types));
    }
    for (key, id) in [("user_id", &args.user), ("product_id", &args.product)] {
        if let Some(id) = id {
            events.insert(key.into(), json!(id));
        }
    }
    Value::Object(events)
}

impl Following for Tapping<'_> {
    fn take(&mut self, text: &str) -> FollowStep {
        match hear(text) {
            Heard::Hello { position, .. } => {
                let subscription = self.subscription();
                // Should the connection end before the first event: from here on.
                if !position.is_empty() {
                    self.since.get_or_insert(position);
                }
                return FollowStep::Say(subscription);
            }
            Heard::Event { cursor, event } => {
                let line = if self.whole { text } else { event };
                if !(self.out)(line) {
                    return FollowStep::Done;
                }
                self.since = cursor.or(self.since.take());
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        return FollowStep::Done;
                    }
                }
            }
            Heard::Skipped(count) => self.note(&format!(
                "skipped {} events, of any kind: they came faster than they were read",
                thousands(count)
            )),
            Heard::Gap { from, to } => {
                self.note(&format!("gap: the log no longer holds what was from {from} to {to}"));
            }
            Heard::Refused { code, detail, .. } if code == "overloaded" => {
                return FollowStep::Again(detail);
            }
            Heard::Refused { code, detail, .. } => {
                if code == "position_invalid" {
                    // Nothing goes on from there.
                    self.since = None;
                }
                return FollowStep::Refused(format!("the engine refuses: {detail} ({code})"));
            }
            Heard::Update { .. } | Heard::Other => {}
        }
        FollowStep::On
    }

    fn note(&mut self, line: &str) {
        (self.note)(line);
    }
}

impl Tapping<'_> {
    /// The message that asks for events.
    fn subscription(&self) -> String {
        let mut message = json!({"type": "subscribe", "id": "e", "events": self.events});
        if let Some(since) = &self.since {
            message["since"] = json!(since);
        }
        message.to_string()
    }
}
