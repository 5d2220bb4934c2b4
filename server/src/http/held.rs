//! A body that holds its bytes of the budget until it is written, or its connection ends.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tally_engine::memory::Held;

/// Bytes of a piece: what is written is given back piece by piece by whoever writes it.
const PIECE: usize = 256 * 1024;

/// A text on its way out.
pub(crate) struct HeldBody {
    left: Bytes,
    _held: Held,
}

impl HeldBody {
    pub(crate) fn new(text: String, held: Held) -> HeldBody {
        HeldBody { left: text.into(), _held: held }
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
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
