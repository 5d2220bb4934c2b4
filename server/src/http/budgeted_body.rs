//! A body that holds its share of the memory budget until it is written or its connection ends.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tally_engine::memory::Held;

/// Bytes of a piece: written pieces are freed one by one.
const PIECE: usize = 256 * 1024;

/// A text that is being sent.
pub(crate) struct BudgetedBody {
    left: Bytes,
    _held: Held,
}

impl BudgetedBody {
    pub(crate) fn new(text: String, held: Held) -> BudgetedBody {
        BudgetedBody { left: text.into(), _held: held }
    }
}

impl Body for BudgetedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
