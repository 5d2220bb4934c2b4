//! An `update` message as frames of a WebSocket.
//!
//! The body is shared by all who get it. A short one is copied into its message; a long one goes
//! out in parts (RFC 6455, fragmentation), so that no socket holds a copy of it: the protocol layer
//! copies each part on its way into the socket, and takes no message that is longer than its
//! buffer.

use super::WRITE_BUFFER;
use crate::http::live::UPDATE_END;
use bytes::Bytes;
use std::iter::once;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Longest body that is one frame, and the longest part of a longer one.
const PART: usize = 64 * 1024;
const _: () = assert!(4 * PART <= WRITE_BUFFER, "a part finds room behind what waits");

/// The frames of a message: what it begins with, the shared body, its end.
pub(super) fn update_frames(head: String, body: &Bytes) -> Vec<Message> {
    let frame = |part: Bytes, kind: Data, is_last: bool| {
        Message::Frame(Frame::message(part, OpCode::Data(kind), is_last))
    };
    let mut head = head.into_bytes();
    if body.len() <= PART {
        head.extend_from_slice(body);
        head.extend_from_slice(UPDATE_END.as_bytes());
        return vec![frame(head.into(), Data::Text, true)];
    }
    let ends = (PART..body.len()).step_by(PART).chain(once(body.len()));
    let parts = ends.scan(0, |from, to| {
        let part = body.slice(*from..to);
        *from = to;
        Some(frame(part, Data::Continue, false))
    });
    let end = Bytes::from_static(UPDATE_END.as_bytes());
    once(frame(head.into(), Data::Text, false))
        .chain(parts)
        .chain(once(frame(end, Data::Continue, true)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_frame_or_parts_that_share_the_body() {
        for (length, frames) in [(0, 1), (PART, 1), (PART + 1, 4), (3 * PART, 5)] {
            let body = Bytes::from("x".repeat(length));
            let (mut text, mut count) = (Vec::new(), 0);
            for message in update_frames("{".into(), &body) {
                let Message::Frame(frame) = message else { panic!("no frame") };
                let kind = if count == 0 { Data::Text } else { Data::Continue };
                count += 1;
                let header = frame.header();
                assert_eq!(header.opcode, OpCode::Data(kind), "{length}");
                assert_eq!(header.is_final, count == frames, "{length}");
                if count == 2 {
                    assert_eq!(frame.payload().as_ptr(), body.as_ptr(), "it is not copied");
                }
                text.extend_from_slice(frame.payload());
            }
            assert_eq!(count, frames, "{length}");
            assert_eq!(text, format!("{{{}}}", "x".repeat(length)).into_bytes());
        }
    }
}
