//! Messages that wait, written together: each is buffered, and the socket is flushed once.

use futures_util::{Sink, SinkExt};

/// Writes messages and flushes once.
///
/// # Errors
/// The socket is closed.
pub async fn write_together<S, M>(
    socket: &mut S,
    messages: impl IntoIterator<Item = M>,
) -> Result<(), S::Error>
where
    S: Sink<M> + Unpin,
{
    for message in messages {
        socket.feed(message).await?;
    }
    socket.flush().await
}
