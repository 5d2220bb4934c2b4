//! A TCP proxy on loopback: what a bad network does, and what a store that keeps no promise would
//! do.
//!
//! It passes bytes on, cuts, resets or halts all connections when told, and may replace texts on
//! the way to the server by others of the same length, so that a server executes a changed script
//! without a changed engine.

use anyhow::{Result, ensure};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A proxy; dropping it ends it and its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A text, and what the server gets instead.
pub type Change = (&'static str, &'static str);

struct Shared {
    changes: Vec<Change>,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    server: String,
    halted: bool,
    ended: bool,
    open: Vec<Open>,
}

/// Both ends of a connection, and whether it ends without a word.
struct Open {
    ends: [TcpStream; 2],
    reset: Arc<AtomicBool>,
}

impl Proxy {
    /// Between whoever connects and `server` (host and port).
    ///
    /// # Errors
    /// No port is free, or a change has another length.
    pub fn start(server: &str, changes: &[Change]) -> Result<Proxy> {
        ensure!(
            changes.iter().all(|(from, to)| from.len() == to.len()),
            "a change must not change lengths"
        );
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            changes: changes.to_vec(),
            state: Mutex::new(State { server: server.to_owned(), ..State::default() }),
            moved: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = of_thread.lock();
                if state.ended {
                    break;
                }
                let server = state.server.clone();
                drop(state);
                // A server that is away: the client sees its connection end.
                if let Ok(server) = TcpStream::connect(server) {
                    of_thread.join(client, server);
                }
            }
        });
        Ok(Proxy { address, shared, thread: Some(thread) })
    }

    /// What clients connect to.
    #[must_use]
    pub fn at(&self) -> String {
        self.address.to_string()
    }

    /// Leads who connects from now on to another server.
    pub fn lead_to(&self, server: &str) {
        self.shared.lock().server = server.to_owned();
    }

    /// Ends all connections, wherever they are.
    pub fn cut(&self) {
        self.shared.lock().cut();
    }

    /// Ends all connections as a machine does that knows nothing of them: with a reset.
    pub fn reset(&self) {
        for open in self.shared.lock().open.drain(..) {
            open.reset.store(true, Ordering::SeqCst);
            for end in &open.ends {
                // It may have ended by itself. Who reads from it here looks up, and the last who
                // closes it resets it.
                let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Read);
            }
        }
    }

    /// Passes nothing on until told to.
    pub fn halt(&self, halted: bool) {
        self.shared.lock().halted = halted;
        self.shared.moved.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        (state.ended, state.halted) = (true, false);
        state.cut();
        drop(state);
        self.shared.moved.notify_all();
        // The listener looks up when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn cut(&mut self) {
        for end in self.open.drain(..).flat_map(|open| open.ends) {
            // It may have ended by itself.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Shared>, client: TcpStream, server: TcpStream) {
        let copies =
            (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
        let (Ok(from_client), Ok(from_server), Ok(one), Ok(other)) = copies else { return };
        // Each request and answer is one write.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let reset = Arc::new(AtomicBool::new(false));
        self.lock().open.push(Open { ends: [one, other], reset: reset.clone() });
        let (up, down, too) = (Arc::clone(self), Arc::clone(self), reset.clone());
        std::thread::spawn(move || up.pass(from_client, server, true, &reset));
        std::thread::spawn(move || down.pass(from_server, client, false, &too));
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, changes: bool, reset: &AtomicBool) {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..read]);
            if changes && self.changes.iter().any(|(from, to)| replace(&mut bytes, from, to)) {
                continue;
            }
            let mut state = self.lock();
            while state.halted {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            if to.write_all(&bytes).is_err() {
                break;
            }
            bytes.clear();
        }
        if !reset.load(Ordering::SeqCst) {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
    }
}

/// Replaces every `from`; whether the bytes end within one, so that more must come first.
fn replace(bytes: &mut [u8], from: &str, to: &str) -> bool {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
        }
    }
    // A request ends with a line break, which is in no text that is replaced.
    (1..from.len()).any(|length| bytes.ends_with(&from[..length]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn a_cut_is_an_end_and_a_reset_is_none() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(&server.local_addr().unwrap().to_string(), &[]).unwrap();
        for reset in [false, true] {
            let mut client = TcpStream::connect(proxy.at()).unwrap();
            let mut served = server.accept().unwrap().0;
            client.write_all(b"a").unwrap();
            served.read_exact(&mut [0]).unwrap();
            if reset {
                proxy.reset()
            } else {
                proxy.cut()
            }
            for end in [&mut client, &mut served] {
                let seen = end.read(&mut [0]);
                match reset {
                    true => assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset),
                    false => assert_eq!(seen.unwrap(), 0),
                }
            }
        }
    }
}
