//! Replies given once more: an equal body gets the reply before it, with times of its own, for as long as asking the engine
//! would change nothing else of it.
//!
//! A body is known by its bytes: nothing of it is read. What the catalogue had a part in is not kept, for that changes unseen.

use super::answer::Envelope;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tally_engine::engine::Again;

/// Replies kept at most; one more, and all are forgotten.
const KEPT: usize = 256;

/// Longest reply that is kept, and longest body; what is saved is nothing beside writing longer ones.
const LONGEST: usize = 32 * 1024;

/// By body: 16 MiB at most, of replies and bodies together.
#[derive(Default)]
pub(crate) struct Replies(Mutex<HashMap<Bytes, Arc<Reply>>>);

struct Reply {
    again: Again,
    envelope: Envelope,
}

impl Replies {
    /// The reply to `body`, if one was kept that still holds.
    pub(crate) fn again(&self, body: &Bytes, started: Instant) -> Option<String> {
        let reply = self.0.lock().get(body).cloned()?;
        let as_of = reply.again.holds()?;
        Some(reply.envelope.text(as_of, started.elapsed()))
    }

    /// Keeps a reply for as long as `again` says that it holds.
    pub(crate) fn keep(&self, body: &Bytes, again: Again, envelope: Envelope) {
        if envelope.len() > LONGEST || body.len() > LONGEST {
            return;
        }
        let mut kept = self.0.lock();
        if kept.len() >= KEPT && !kept.contains_key(body) {
            kept.clear();
        }
        // A copy: the bytes share the connection's buffer.
        kept.insert(Bytes::copy_from_slice(body), Arc::new(Reply { again, envelope }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_bounded_in_number_and_size_and_one_that_is_renewed_forgets_none() {
        let replies = Replies::default();
        let envelope = |size: usize| Envelope::around(&"x".repeat(size));
        let keep = |body: String, size| replies.keep(&body.into(), Again::new(|| Some(0)), envelope(size));
        let kept = |body: &'static str| replies.again(&body.into(), Instant::now()).is_some();
        for n in 0..KEPT {
            keep(n.to_string(), 1);
        }
        keep("0".into(), 1);
        assert!(kept("0") && kept("255"));
        keep("long".into(), LONGEST + 1);
        assert!(!kept("long") && kept("255"));
        keep("y".repeat(LONGEST + 1), 1);
        assert!(kept("255"));
        keep("new".into(), 1);
        assert_eq!(replies.0.lock().len(), 1);
    }
}
