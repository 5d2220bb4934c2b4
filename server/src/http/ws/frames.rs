//! Messages on their way into one socket, as frames of a WebSocket (RFC 6455, section 5.2).
//!
//! They are written past the protocol layer, which would copy each of them: of a message only its
//! small beginning and its end are the socket's own, and the text between them is shared by all who
//! get it. Many pieces go out in one write. A long message goes out in parts (section 5.4), so that
//! a close has to wait for one of them only.
//!
//! Promises: the bytes go out in order, whatever the socket takes of them at a time, and it is known
//! whether a frame is begun: the protocol layer, which has the pings, pongs and closes, must not
//! write before that one is finished. Bounds nothing by itself: whoever adds messages asks whether
//! there is room.

use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tally_engine::engine::FeedEvent;
use tokio::io::AsyncWrite;

/// Longest payload of a frame, bytes.
const PART: usize = 64 * 1024;

/// Most pieces of a write.
const SLICES: usize = 64;

/// Messages, and bytes, from which on no more are added before these are written.
const MESSAGES: usize = 256;
const BYTES: usize = 1024 * 1024;

/// In the first byte of a frame: that it is a message's last one, and that it begins a text.
const LAST: u8 = 0x80;
const TEXT: u8 = 0x01;

/// A text that others send too.
#[derive(Clone)]
pub(super) enum SharedText {
    /// Some text.
    Bytes(Bytes),
    /// The members of an event.
    Event(Arc<FeedEvent>),
}

/// What waits to be written to one socket.
#[derive(Default)]
pub(super) struct OutgoingFrames {
    pieces: VecDeque<FramePiece>,
    /// Bytes of the first piece that are written.
    written: usize,
    /// Bytes of each frame that are not written yet, in order.
    frames: VecDeque<usize>,
    /// Whether some of the first frame is written.
    is_begun: bool,
    /// Messages that were added since nothing waited.
    messages: usize,
}

enum FramePiece {
    /// Headers of frames, beginnings and ends.
    Own(Vec<u8>),
    Shared(SharedText, Range<usize>),
}

/// A message that is being cut into frames.
struct MessageCut {
    /// Its bytes that are in no frame yet.
    unframed: usize,
    /// Bytes that its newest frame still takes.
    room: usize,
    is_first: bool,
}

impl SharedText {
    fn bytes(&self) -> &[u8] {
        match self {
            SharedText::Bytes(bytes) => bytes,
            SharedText::Event(event) => event.body.as_bytes(),
        }
    }
}

impl FramePiece {
    fn bytes(&self) -> &[u8] {
        match self {
            FramePiece::Own(bytes) => bytes,
            FramePiece::Shared(text, range) => &text.bytes()[range.clone()],
        }
    }

    fn truncate(&mut self, length: usize) {
        match self {
            FramePiece::Own(bytes) => bytes.truncate(length),
            FramePiece::Shared(_, range) => range.end = range.end.min(range.start + length),
        }
    }
}

impl OutgoingFrames {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.frames.iter().sum()
    }

    /// Whether more may be added before these are written.
    pub(super) fn has_room(&self) -> bool {
        self.messages < MESSAGES && self.bytes() < BYTES
    }

    // Messages → frames.

    /// Adds a message that nobody shares.
    pub(super) fn push_text(&mut self, text: &str) {
        self.push(text, &[], "");
    }

    /// Adds a message: its beginning, what others send too, its end.
    pub(super) fn push(&mut self, head: &str, shared: &[SharedText], end: &str) {
        let of_shared: usize = shared.iter().map(|text| text.bytes().len()).sum();
        let unframed = head.len() + of_shared + end.len();
        let mut cut = MessageCut { unframed, room: 0, is_first: true };
        // Also a message without a byte is a frame.
        self.begin_frame(&mut cut);
        self.add_own(&mut cut, head.as_bytes());
        for text in shared {
            let (mut from, length) = (0, text.bytes().len());
            while from < length {
                let to = from + self.fit(&mut cut, length - from);
                self.pieces.push_back(FramePiece::Shared(text.clone(), from..to));
                from = to;
            }
        }
        self.add_own(&mut cut, end.as_bytes());
        self.messages += 1;
    }

    fn add_own(&mut self, cut: &mut MessageCut, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.fit(cut, bytes.len()));
            self.own().extend_from_slice(now);
            bytes = later;
        }
    }

    /// How many of so many bytes the newest frame takes; where that one is full, the next one.
    fn fit(&mut self, cut: &mut MessageCut, bytes: usize) -> usize {
        if cut.room == 0 {
            self.begin_frame(cut);
        }
        let fits = bytes.min(cut.room);
        cut.room -= fits;
        fits
    }

    fn begin_frame(&mut self, cut: &mut MessageCut) {
        let length = cut.unframed.min(PART);
        cut.unframed -= length;
        cut.room = length;
        let last = if cut.unframed == 0 { LAST } else { 0 };
        let kind = if std::mem::take(&mut cut.is_first) { TEXT } else { 0 };
        let own = self.own();
        let before = own.len();
        push_header(own, last | kind, length);
        let header = own.len() - before;
        self.frames.push_back(header + length);
    }

    /// The last piece, which is the socket's own.
    fn own(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.back(), Some(FramePiece::Own(_))) {
            self.pieces.push_back(FramePiece::Own(Vec::with_capacity(64)));
        }
        match self.pieces.back_mut() {
            Some(FramePiece::Own(bytes)) => bytes,
            _ => unreachable!("it was just added"),
        }
    }

    // Frames → socket.

    /// Writes as much as the socket takes at once. May be cancelled.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn write_some<S>(&mut self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        poll_fn(|cx| self.poll_write(cx, stream)).await
    }

    /// Forgets what is not begun, and writes the rest of the frame that is. May be cancelled.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) async fn finish_begun<S>(&mut self, stream: &mut S) -> io::Result<()>
    where
        S: AsyncWrite + Unpin,
    {
        self.keep_begun();
        while !self.is_empty() {
            self.write_some(stream).await?;
        }
        Ok(())
    }

    fn poll_write<S>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut count, mut skipped) = (0, self.written);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&piece.bytes()[skipped..]);
            (count, skipped) = (count + 1, 0);
        }
        if count == 0 {
            return Poll::Ready(Ok(()));
        }
        let written = ready!(Pin::new(stream).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    /// So many bytes are written; pieces that are written whole are let go.
    fn advance(&mut self, written: usize) {
        self.written += written;
        while let Some(first) = self.pieces.front().map(|piece| piece.bytes().len())
            && first <= self.written
        {
            self.written -= first;
            self.pieces.pop_front();
        }
        let mut left = written;
        while left > 0
            && let Some(first) = self.frames.front_mut()
        {
            let of_first = left.min(*first);
            left -= of_first;
            *first -= of_first;
            self.is_begun = *first > 0;
            if !self.is_begun {
                self.frames.pop_front();
            }
        }
        if self.is_empty() {
            self.messages = 0;
        }
    }

    fn keep_begun(&mut self) {
        self.frames.truncate(usize::from(self.is_begun));
        let rest = self.bytes();
        if rest == 0 {
            *self = OutgoingFrames::default();
            return;
        }
        let mut kept = self.written + rest;
        self.pieces.retain_mut(|piece| {
            let of_piece = piece.bytes().len().min(kept);
            kept -= of_piece;
            piece.truncate(of_piece);
            of_piece > 0
        });
    }
}

/// The header of a frame from a server, whose payload is not masked.
fn push_header(out: &mut Vec<u8>, first: u8, length: usize) {
    out.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
