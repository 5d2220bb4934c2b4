//! One connection: the slot that it holds, and a stream with time limits.
//!
//! hyper's own timer runs from the end of one response to the end of the next head, so it cannot
//! tell an idle connection (60 s) from a dripped head (5 s). [`TimedStream`] can: it knows when the
//! first byte of a request came and whether a request is being answered. An error of the stream
//! ends the connection without a reply.

use super::listener::Stream;
use super::{Limits, parse_errors};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tally_engine::engine::ReplayTurns;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// How many slots each address has taken.
type SlotsTaken = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// The slots for connections, in all and for each address.
pub(crate) struct ConnectionSlots {
    all: Arc<Semaphore>,
    limit: usize,
    per_address: usize,
    addresses: SlotsTaken,
}

/// Who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Connections that are open.
    pub(crate) open: usize,
    /// How many of them come over loopback.
    pub(crate) local: usize,
    /// From how many addresses the others come.
    pub(crate) addresses: usize,
}

/// A taken slot; dropping it frees the slot.
pub(crate) struct ConnectionSlot {
    _one: OwnedSemaphorePermit,
    address: Option<(IpAddr, SlotsTaken)>,
}

impl ConnectionSlots {
    pub(crate) fn new(limits: &Limits) -> ConnectionSlots {
        let all = Arc::new(Semaphore::new(limits.connections));
        ConnectionSlots {
            all,
            limit: limits.connections,
            per_address: limits.connections_per_address,
            addresses: Arc::default(),
        }
    }

    /// A slot, if one is free.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<ConnectionSlot> {
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let address = if peer.is_loopback() {
            None
        } else {
            let mut addresses = self.addresses.lock();
            let taken = addresses.entry(peer).or_default();
            if *taken >= self.per_address {
                return None;
            }
            *taken += 1;
            Some((peer, Arc::clone(&self.addresses)))
        };
        Some(ConnectionSlot { _one: one, address })
    }

    pub(crate) fn peers(&self) -> Peers {
        let addresses = self.addresses.lock();
        let others: usize = addresses.values().sum();
        let open = self.limit.saturating_sub(self.all.available_permits());
        Peers { open, local: open.saturating_sub(others), addresses: addresses.len() }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Some((peer, addresses)) = self.address.take() else {
            return;
        };
        let mut addresses = addresses.lock();
        if let Some(taken) = addresses.get_mut(&peer) {
            *taken -= 1;
            if *taken == 0 {
                addresses.remove(&peer);
            }
        }
    }
}

/// What the socket, the service and a WebSocket share of one connection. The slot stays taken while
/// any of them holds this.
pub(crate) struct Connection {
    _slot: ConnectionSlot,
    started: AtomicBool,
    /// Requests and bodies under way.
    busy: AtomicUsize,
    requests: AtomicU64,
    upgraded: AtomicBool,
    replays: ReplayTurns,
}

impl Connection {
    pub(crate) fn new(slot: ConnectionSlot) -> Arc<Connection> {
        let no = || AtomicBool::new(false);
        Arc::new(Connection {
            _slot: slot,
            started: no(),
            busy: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            upgraded: no(),
            replays: ReplayTurns::default(),
        })
    }

    /// A request begins to be answered.
    pub(crate) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The request has been answered.
    pub(crate) fn end(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Begins a long body: the connection is not idle until this is dropped.
    pub(crate) fn writing(self: &Arc<Connection>) -> Writing {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Writing(Arc::clone(self))
    }

    /// The turns of what is replayed on it.
    pub(crate) fn replays(&self) -> &ReplayTurns {
        &self.replays
    }

    /// Ends the time limits here: from now on the WebSocket has its own.
    pub(crate) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// Whether any byte was ever received.
    pub(crate) fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }
}

/// A body under way.
pub(crate) struct Writing(Arc<Connection>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A stream with time limits.
pub(crate) struct TimedStream {
    stream: Box<dyn Stream>,
    connection: Arc<Connection>,
    head: Duration,
    idle: Duration,
    write: Duration,
    /// Bytes of a request have arrived, and the request is not being answered yet.
    in_head: bool,
    /// Requests answered when the timer was last set.
    seen: u64,
    /// When the wait for bytes ends. The timer fires at that time or before, and is then set again:
    /// so it is hardly ever touched while requests follow each other.
    read_by: Instant,
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// What is written in place of the bytes that are being written.
    replacement: Option<Bytes>,
}

impl TimedStream {
    pub(crate) fn new(
        stream: Box<dyn Stream>,
        connection: Arc<Connection>,
        limits: &Limits,
    ) -> TimedStream {
        let Limits { first_byte, head, idle, write, .. } = *limits;
        let (read_by, read_timer) = (Instant::now() + first_byte, Box::pin(sleep(first_byte)));
        let (in_head, seen, write_timer, replacement) = (false, 0, None, None);
        TimedStream {
            stream,
            connection,
            head,
            idle,
            write,
            in_head,
            seen,
            read_by,
            read_timer,
            write_timer,
            replacement,
        }
    }

    fn wait_for(&mut self, limit: Duration) {
        self.read_by = Instant::now() + limit;
        if self.read_by < self.read_timer.deadline() {
            self.read_timer.as_mut().reset(self.read_by);
        }
    }

    /// Ready when the wait for bytes is over.
    fn poll_read_by(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.read_timer.as_mut().poll(cx));
        while Instant::now() < self.read_by {
            self.read_timer.as_mut().reset(self.read_by);
            ready!(self.read_timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    /// If requests were answered since the timer was set, the wait is for the next one and begins
    /// anew.
    fn notice_requests(&mut self) {
        let requests = self.connection.requests.load(Ordering::Relaxed);
        if requests != self.seen {
            self.seen = requests;
            self.in_head = false;
            self.wait_for(self.idle);
        }
    }

    /// Writes what replaces `length` bytes; these count as written once all of it is.
    fn poll_replacement(
        &mut self,
        cx: &mut Context<'_>,
        mut rest: Bytes,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        while rest.has_remaining() {
            let outcome = Pin::new(&mut self.stream).poll_write(cx, &rest);
            match self.written(cx, outcome) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => rest.advance(written),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => {
                    self.replacement = Some(rest);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(length))
    }

    /// Turns an answer of hyper's own into a problem.
    fn replacement_of(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let idle = self.connection.busy.load(Ordering::Relaxed) == 0;
        self.replacement.take().or_else(|| parse_errors::problem_for(bytes).filter(|_| idle))
    }

    fn untimed(&self) -> bool {
        self.connection.busy.load(Ordering::Relaxed) > 0
            || self.connection.upgraded.load(Ordering::Relaxed)
    }

    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() || self.connection.upgraded.load(Ordering::Relaxed) {
            self.write_timer = None;
            return outcome;
        }
        let limit = self.write;
        ready!(self.write_timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A timer for hyper that never fires: [`TimedStream`] has the time limits. It is needed because
/// hyper waits for the next head right after an answer only if it has a timer, and only then does
/// the socket wait.
#[derive(Clone, Copy)]
pub(crate) struct NoTimer;

struct Never;

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl hyper::rt::Sleep for Never {}

impl hyper::rt::Timer for NoTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Never)
    }

    fn sleep_until(&self, _: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Never)
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(outcome) => {
                if buffer.filled().len() > before && !this.untimed() {
                    this.connection.started.store(true, Ordering::Relaxed);
                    this.notice_requests();
                    if !this.in_head {
                        this.in_head = true;
                        this.wait_for(this.head);
                    }
                }
                Poll::Ready(outcome)
            }
            Poll::Pending if this.untimed() => Poll::Pending,
            Poll::Pending => {
                this.notice_requests();
                ready!(this.poll_read_by(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(replacement) = this.replacement_of(bytes) {
            return this.poll_replacement(cx, replacement, bytes.len());
        }
        let outcome = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [one] = bytes
            && let Some(replacement) = this.replacement_of(one)
        {
            return this.poll_replacement(cx, replacement, one.len());
        }
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use hyper_util::rt::TokioIo;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    #[test]
    fn slots_are_bounded_in_all_and_for_each_address_but_loopback() {
        let slots = ConnectionSlots::new(&Limits {
            connections: 5,
            connections_per_address: 2,
            ..Limits::default()
        });
        let [one, other, own]: [IpAddr; 3] =
            ["192.0.2.1", "192.0.2.2", "127.0.0.1"].map(|address| address.parse().unwrap());
        let first = slots.take(one).unwrap();
        let _second = slots.take(one).unwrap();
        assert!(slots.take(one).is_none());
        let _other = slots.take(other).unwrap();
        drop(first);
        let _again = slots.take(one).unwrap();
        let _own = [slots.take(own).unwrap(), slots.take(own).unwrap()];
        assert!(slots.take(own).is_none(), "all slots are taken");
        assert!(slots.take(other).is_none(), "and a refused one takes none");
        assert_eq!(slots.peers(), Peers { open: 5, local: 2, addresses: 2 });
    }

    #[tokio::test]
    async fn many_pieces_go_out_in_one_write() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let near = TcpStream::connect(address).await.unwrap();
        let (mut far, peer) = listener.accept().await.unwrap();
        let limits = Limits::default();
        let connection = Connection::new(ConnectionSlots::new(&limits).take(peer.ip()).unwrap());
        let timed = TimedStream::new(Box::new(near), connection, &limits);
        // As hyper has it, and gives it back for a WebSocket.
        let mut stream = TokioIo::new(timed);
        assert!(hyper::rt::Write::is_write_vectored(&stream));
        let slices = [b"one", b"two"].map(|text| io::IoSlice::new(text));
        let written =
            poll_fn(|cx| hyper::rt::Write::poll_write_vectored(Pin::new(&mut stream), cx, &slices));
        assert_eq!(written.await.unwrap(), 6);
        let mut read = [0; 6];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"onetwo");
    }
}
