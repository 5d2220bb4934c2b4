//! A cache of replies: an equal body gets the reply to the body before it, with times of its own,
//! for as long as the engine would change nothing else in it.
//!
//! Bodies are compared as bytes, without parsing. A reply with names from the catalogue is not
//! kept, because names change unnoticed. The cache is bounded in bytes; the least used replies are
//! dropped first, and long ones are not kept at all.

use super::envelope::Envelope;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::time::Instant;
use tally_engine::engine::AnswerValidity;

/// Longest reply that is kept, and longest body: of longer ones the cache would save too little.
const LONGEST: usize = 32 * 1024;

/// Approximate bytes that an entry takes besides its texts.
const ENTRY: usize = 512;

/// By body.
pub(crate) struct ReplyCache(Cache<Bytes, Arc<Reply>, Length>);

struct Reply {
    validity: AnswerValidity,
    envelope: Envelope,
}

/// Weighs entries.
#[derive(Clone)]
struct Length;

impl Weighter<Bytes, Arc<Reply>> for Length {
    fn weight(&self, body: &Bytes, reply: &Arc<Reply>) -> u64 {
        (ENTRY + body.len() + reply.envelope.len()) as u64
    }
}

impl ReplyCache {
    /// Keeps at most this many bytes of bodies and replies.
    pub(crate) fn new(bytes: u64) -> ReplyCache {
        ReplyCache(Cache::with_weighter((bytes / 2048) as usize, bytes, Length))
    }

    /// The reply to `body`, if one is kept that is still valid.
    pub(crate) fn get(&self, body: &Bytes, started: Instant) -> Option<String> {
        if body.len() > LONGEST {
            return None;
        }
        let reply = self.0.get(body)?;
        let as_of = reply.validity.holds()?;
        Some(reply.envelope.text(as_of, started.elapsed()))
    }

    /// Keeps a reply for as long as `validity` says that it is valid.
    pub(crate) fn insert(&self, body: &Bytes, validity: AnswerValidity, envelope: Envelope) {
        if envelope.len() <= LONGEST && body.len() <= LONGEST {
            // A copy: the bytes share the connection's buffer.
            self.0.insert(Bytes::copy_from_slice(body), Arc::new(Reply { validity, envelope }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_bounded_in_bytes_and_one_more_takes_the_place_of_few() {
        let bytes = 4 << 20;
        let replies = ReplyCache::new(bytes);
        let envelope = |size: usize| Envelope::around(&"x".repeat(size));
        let keep = |body: String, size| {
            replies.insert(&body.into(), AnswerValidity::new(|| Some(0)), envelope(size))
        };
        let kept = |body: &'static str| replies.get(&body.into(), Instant::now()).is_some();
        keep("0".into(), 1);
        assert!(kept("0"));
        for n in 0..1_000 {
            keep(n.to_string(), 20 << 10);
            assert!(replies.0.weight() <= bytes);
        }
        assert!(replies.0.weight() > bytes * 3 / 4, "{}", replies.0.weight());
        keep("long".into(), LONGEST + 1);
        assert!(!kept("long"));
        keep("y".repeat(LONGEST + 1), 1);
        assert!(replies.get(&"y".repeat(LONGEST + 1).into(), Instant::now()).is_none());
    }

    #[test]
    fn a_reply_that_holds_no_more_is_not_given() {
        let replies = ReplyCache::new(1 << 20);
        let body = Bytes::from_static(b"q");
        replies.insert(&body, AnswerValidity::new(|| None), Envelope::around("x"));
        assert!(replies.get(&body, Instant::now()).is_none());
    }
}
