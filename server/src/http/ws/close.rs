//! How a WebSocket ends: each end has its code, and the socket stays open for a moment, until the
//! client has read it. Closing a socket with unread bytes would lose the code.

use super::{LONGEST, Socket};
use crate::http::codes::Code;
use crate::http::error_message::error_message;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Messages that are read after a close was sent, until the other side closes too.
const MORE: u32 = 64;

/// Bytes that are read and discarded after them.
const REST: usize = 4 * 1024 * 1024;

/// How long the other side may take to answer a close.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

pub(super) const GOING_AWAY: Close =
    Close { code: 1001, error: None, detail: "the server is stopping" };
const BAD_FRAME: Close = Close {
    code: 1002,
    error: Some(Code::ProtocolError),
    detail: "the frame is none that a client may send (RFC 6455)",
};
const BINARY: Close =
    Close { code: 1003, error: Some(Code::BinaryMessage), detail: "messages must be text" };
const NOT_UTF8: Close =
    Close { code: 1007, error: Some(Code::InvalidUtf8), detail: "text must be UTF-8" };
pub(super) const TOO_MANY: Close = Close {
    code: 1008,
    error: Some(Code::TooManyMessages),
    detail: "at most 64 messages a second are accepted, 256 at once",
};
const TOO_LARGE: Close = Close {
    code: 1009,
    error: Some(Code::MessageTooLarge),
    detail: "a message must have at most 4096 bytes",
};
const _: () = assert!(LONGEST == 4096, "TOO_LARGE says so");
pub(super) const TOO_SLOW: Close =
    Close { code: 1013, error: None, detail: "the socket stayed blocked; reconnect" };

/// How a socket is closed by this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Close {
    code: u16,
    /// Code of the `error` message before the close, if there is one.
    error: Option<Code>,
    detail: &'static str,
}

impl Close {
    /// What the client is told before the close, if it is an error.
    pub(super) fn error(&self) -> Option<Code> {
        self.error
    }
}

/// Why a session ends.
pub(super) enum End {
    /// With a close frame.
    Close(Close),
    /// The client closed it; what answers that waits to be written.
    Answer,
    /// The client is gone.
    Gone,
}

/// The text that came, if it is a message.
///
/// # Errors
/// Something came that ends the session.
pub(super) fn received_text(
    received: Option<Result<Message, Error>>,
) -> Result<Option<String>, End> {
    match received {
        Some(Ok(Message::Text(text))) => Ok(Some(text.as_str().to_owned())),
        Some(Ok(Message::Binary(_))) => Err(End::Close(BINARY)),
        // The protocol layer answers pings.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Close(_))) => Err(End::Answer),
        Some(Err(Error::Capacity(_))) => Err(End::Close(TOO_LARGE)),
        Some(Err(Error::Utf8(_))) => Err(End::Close(NOT_UTF8)),
        Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => Err(End::Gone),
        Some(Err(Error::Protocol(_))) => Err(End::Close(BAD_FRAME)),
        Some(Err(_)) | None => Err(End::Gone),
    }
}

/// Says why, closes, and reads on until the client has closed too.
pub(super) async fn close_socket(socket: &mut Socket, close: Close) {
    let Close { code, error: named, detail } = close;
    let told = match named {
        Some(named) => {
            socket.feed(Message::text(error_message(None, named.word(), detail, &[]))).await
        }
        None => Ok(()),
    };
    let frame = CloseFrame { code: code.into(), reason: detail.into() };
    if told.is_err() || socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // A client that follows the protocol answers with a close.
    for _ in 0..MORE {
        let Some(Ok(_)) = socket.next().await else { break };
    }
    // Of another client the rest is read and discarded, until it has read the code; one that sends
    // without end is cut off.
    let raw = socket.get_mut();
    let (mut rest, mut read) = ([0; 4096], 0);
    if raw.shutdown().await.is_ok() {
        while let Ok(more @ 1..) = raw.read(&mut rest).await
            && read < REST
        {
            read += more;
        }
    }
}
