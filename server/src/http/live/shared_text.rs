//! A text that all who watch share, on its way into one response.
//!
//! The protocol layer keeps what it was given until the socket takes it, so that it gets copies of
//! pieces; the text itself is let go at a deadline, whatever the socket has taken by then.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, unfold};
use parking_lot::Mutex;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Longest part that is given to the protocol layer at a time.
const PIECE: usize = 64 * 1024;

/// Bytes a second that a socket has to take of a long text.
const LEAST_PACE: u64 = 256 * 1024;

/// The socket has not taken all of a text in time. A retry may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client reads too slowly")]
pub(crate) struct ReadsTooSlowly;

/// How long a text of so many bytes may be on its way, where one write may take `write`.
pub(crate) fn longest_way(write: Duration, bytes: usize) -> Duration {
    write + Duration::from_millis((bytes as u64).saturating_mul(1_000) / LEAST_PACE)
}

/// The pieces of a text; the last one is a fault if it was not taken within `limit`.
pub(crate) fn pieces(
    text: Bytes,
    limit: Duration,
) -> BoxStream<'static, Result<Bytes, ReadsTooSlowly>> {
    let kept = KeptText::new(text, limit);
    let next = move |from: usize| {
        let next = kept.piece(from).map(|piece| {
            // Nothing comes behind a fault.
            let to = piece.as_ref().map_or(kept.length, |piece| from + piece.len());
            (piece, to)
        });
        ready(next)
    };
    unfold(0, next).boxed()
}

/// A text until its deadline.
struct KeptText {
    text: Arc<Mutex<Option<Bytes>>>,
    length: usize,
    /// It holds the text too.
    timer: AbortHandle,
}

impl KeptText {
    fn new(text: Bytes, limit: Duration) -> KeptText {
        let length = text.len();
        let text = Arc::new(Mutex::new(Some(text)));
        let timed = Arc::clone(&text);
        let timer = tokio::spawn(async move {
            sleep(limit).await;
            drop(timed.lock().take());
        });
        KeptText { text, length, timer: timer.abort_handle() }
    }

    /// The piece that begins there; `None`: that is the end.
    fn piece(&self, from: usize) -> Option<Result<Bytes, ReadsTooSlowly>> {
        if from >= self.length {
            return None;
        }
        let text = self.text.lock();
        let piece = text.as_ref().and_then(|text| text.get(from..self.length.min(from + PIECE)));
        Some(piece.map(Bytes::copy_from_slice).ok_or(ReadsTooSlowly))
    }
}

impl Drop for KeptText {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    #[tokio::test]
    async fn a_text_comes_in_pieces_and_is_let_go_at_its_deadline() {
        let text = Bytes::from("x".repeat(2 * PIECE + 1));
        let all: Vec<_> = pieces(text.clone(), Duration::from_secs(60)).collect().await;
        let lengths: Vec<usize> = all.iter().map(|piece| piece.as_ref().unwrap().len()).collect();
        assert_eq!(lengths, [PIECE, PIECE, 1]);
        let mut slow = pieces(text.clone(), Duration::from_millis(1));
        assert!(slow.next().await.unwrap().is_ok());
        // Nobody takes another piece, and the text is let go all the same.
        while !text.is_unique() {
            yield_now().await;
        }
        assert_eq!(slow.next().await, Some(Err(ReadsTooSlowly)));
        assert_eq!(slow.next().await, None);
    }

    #[test]
    fn a_long_text_may_take_longer() {
        let second = Duration::from_secs(1);
        assert_eq!(longest_way(second, 0), second);
        assert_eq!(longest_way(second, 1 << 20), 5 * second);
    }
}
