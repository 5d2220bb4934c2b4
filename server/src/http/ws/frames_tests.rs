//! Frames against the protocol layer as their reader, over a socket that takes whatever it likes.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::*;
use futures_util::{FutureExt, SinkExt, StreamExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use tally_engine::feed::{CursorText, NewEvent};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A socket that takes some of what it is given, or nothing yet, as chance will have it.
struct FickleSocket {
    inner: DuplexStream,
    random: SmallRng,
    /// Bytes that it takes at all.
    left: usize,
}

impl AsyncRead for FickleSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FickleSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(slices.len() <= SLICES);
        if self.left == 0 {
            return Poll::Pending;
        }
        if self.random.random_bool(0.2) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let longest = if self.random.random_bool(0.5) { 64 } else { 100_000 };
        let most = self.random.random_range(1..=longest).min(self.left);
        let bytes: Vec<u8> =
            slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Both ends of a connection, the server's on such a socket.
async fn ends(
    seed: u64,
    buffer: usize,
) -> (WebSocketStream<FickleSocket>, WebSocketStream<DuplexStream>) {
    let (inner, far) = duplex(buffer);
    let near = FickleSocket { inner, random: SmallRng::seed_from_u64(seed), left: usize::MAX };
    (
        WebSocketStream::from_raw_socket(near, Role::Server, None).await,
        WebSocketStream::from_raw_socket(far, Role::Client, None).await,
    )
}

/// Some text, in which a byte that is in the wrong place is seen.
fn text(random: &mut SmallRng, length: usize) -> String {
    let begin = random.random_range(0..26);
    (0..length).map(|n| char::from(b'a' + ((begin + n / 7) % 26) as u8)).collect()
}

/// A message in three parts, of any length, often one at which headers change.
fn message(random: &mut SmallRng) -> [String; 3] {
    let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 70_000];
    let length = if random.random_bool(0.5) {
        lengths[random.random_range(0..lengths.len())]
    } else {
        random.random_range(0..70_000)
    };
    let first = random.random_range(0..=length.min(200));
    let last = random.random_range(0..=(length - first).min(10));
    [first, length - first - last, last].map(|length| text(random, length))
}

fn push(frames: &mut OutgoingFrames, [head, shared, end]: &[String; 3]) {
    // Two pieces of it, as an answer has.
    let shared = Bytes::from(shared.clone());
    let (one, other) = (shared.slice(..shared.len() / 2), shared.slice(shared.len() / 2..));
    frames.push(head, &[SharedText::Bytes(one), SharedText::Bytes(other)], end);
}

#[tokio::test]
async fn messages_arrive_whole_whatever_a_socket_takes_and_pongs_stand_between_frames() {
    let mut all_pongs = 0;
    for seed in 0..30 {
        let mut random = SmallRng::seed_from_u64(seed);
        let messages: Vec<[String; 3]> =
            (0..random.random_range(1..40)).map(|_| message(&mut random)).collect();
        let together = random.random_range(1..10);
        // Room for all pings: the client must not wait for the server while that waits for it.
        let (mut socket, mut client) = ends(seed, random.random_range(4_096..100_000)).await;
        let serve = async {
            let mut frames = OutgoingFrames::default();
            for some in messages.chunks(together) {
                some.iter().for_each(|message| push(&mut frames, message));
                socket.flush().await.unwrap();
                while !frames.is_empty() {
                    frames.write_some(socket.get_mut()).await.unwrap();
                }
                // The protocol layer begins to answer pings, and may not come to an end.
                while let Some(came) = socket.next().now_or_never() {
                    assert!(matches!(came, Some(Ok(Message::Ping(_)))), "seed {seed}: {came:?}");
                }
            }
            socket.send(Message::Close(None)).await.unwrap();
        };
        let read = async {
            let (mut got, mut pongs) = (Vec::new(), 0);
            loop {
                match client.next().await {
                    Some(Ok(Message::Text(text))) => {
                        got.push(text.as_str().to_owned());
                        client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
                    }
                    Some(Ok(Message::Pong(_))) => pongs += 1,
                    Some(Ok(Message::Close(_))) => return (got, pongs),
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
        };
        let ((), (got, pongs)) = tokio::join!(serve, read);
        let expected: Vec<String> = messages.iter().map(|parts| parts.concat()).collect();
        assert!(got == expected, "seed {seed}: other messages arrived than were sent");
        all_pongs += pongs;
    }
    assert!(all_pongs > 10, "only {all_pongs} pongs");
}

#[tokio::test]
async fn a_close_comes_behind_the_frame_that_was_begun_and_before_the_others() {
    let long = ["{".to_owned(), "x".repeat(99_998), "}".to_owned()];
    let short = ["{".to_owned(), "y".repeat(8), "}".to_owned()];
    // The long one has a frame of 65,546 bytes and one of 34,468.
    for (taken, arrive) in [
        (0, 0),
        (1, 0),
        (11, 0),
        (65_545, 0),
        (65_546, 0),
        (65_547, 1),
        (100_013, 1),
        (100_014, 1),
        (100_015, 2),
    ] {
        let (mut socket, mut client) = ends(taken as u64, 1 << 20).await;
        let mut frames = OutgoingFrames::default();
        push(&mut frames, &long);
        push(&mut frames, &short);
        assert_eq!(frames.bytes(), 65_546 + 34_468 + 12);
        socket.get_mut().left = taken;
        while socket.get_ref().left > 0 {
            frames.write_some(socket.get_mut()).await.unwrap();
        }
        assert!(frames.write_some(socket.get_mut()).now_or_never().is_none(), "it is full");
        socket.get_mut().left = usize::MAX;
        frames.finish_begun(socket.get_mut()).await.unwrap();
        socket.send(Message::Close(None)).await.unwrap();
        let mut got = 0;
        loop {
            match client.next().await {
                Some(Ok(Message::Text(text))) => {
                    assert_eq!(text.as_str(), [&long, &short][got].concat());
                    got += 1;
                }
                Some(Ok(Message::Close(_))) => break,
                other => panic!("{taken}: {other:?}"),
            }
        }
        assert_eq!(got, arrive, "{taken}");
    }
}

#[test]
fn what_is_shared_is_not_copied_and_takes_a_piece_of_a_message() {
    let mut frames = OutgoingFrames::default();
    let body = Bytes::from("x".repeat(2 * PART));
    frames.push("{", &[SharedText::Bytes(body.clone())], "}");
    let new = NewEvent {
        next: 1,
        event_type: "view".into(),
        user: None,
        product: None,
        event: "{}".into(),
    };
    let event = Arc::new(FeedEvent::new(0, new, &CursorText::around(&BTreeMap::new(), 0)));
    for _ in 0..100 {
        frames.push("{", &[SharedText::Event(Arc::clone(&event))], "}");
    }
    let of_body = body.as_ptr_range();
    let shared = |piece: &FramePiece| {
        let first = piece.bytes().as_ptr();
        of_body.contains(&first) || first == event.body.as_ptr()
    };
    // The body is in three frames, between which are headers.
    assert_eq!(frames.pieces.iter().filter(|piece| shared(piece)).count(), 3 + 100);
    assert_eq!(frames.pieces.len(), 2 * (3 + 100) + 1);
    let own: usize =
        frames.pieces.iter().filter(|piece| !shared(piece)).map(|p| p.bytes().len()).sum();
    assert!(own < 1_000, "{own} bytes are the socket's own");
    let all: usize = frames.pieces.iter().map(|piece| piece.bytes().len()).sum();
    assert_eq!(all, frames.bytes());
}

#[test]
fn headers_have_the_shortest_form_of_a_length() {
    let header = |length: usize| {
        let mut bytes = Vec::new();
        push_header(&mut bytes, LAST | TEXT, length);
        bytes
    };
    assert_eq!(header(0), [0x81, 0]);
    assert_eq!(header(125), [0x81, 125]);
    assert_eq!(header(126), [0x81, 126, 0, 126]);
    assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
    assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn so_much_is_written_together() {
    let mut frames = OutgoingFrames::default();
    let added = |frames: &mut OutgoingFrames, text: &str| {
        let mut count = 0;
        while frames.has_room() {
            frames.push_text(text);
            count += 1;
        }
        count
    };
    assert_eq!(added(&mut frames, "x"), MESSAGES);
    let (mut socket, _client) = ends(1, 1 << 22).await;
    while !frames.is_empty() {
        assert!(!frames.has_room(), "only when all is written");
        frames.write_some(socket.get_mut()).await.unwrap();
    }
    assert_eq!(added(&mut frames, &"x".repeat(BYTES / 4)), 4);
}
