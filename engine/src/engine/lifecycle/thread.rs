//! The thread of the plugin manager, and the queue of orders to it.
//!
//! The queue is bounded: an order that finds it full is refused. The thread ends when the queue is closed; one that a file system or a
//! plugin holds up is left behind.

use super::manager::PluginManager;
use crate::engine::{Order, OrderError};
use crate::pipeline::{Board, Thread, guard};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the thread's end is waited for.
const PARTING: Duration = Duration::from_secs(5);

/// How long the outcome of an order is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// Orders that may wait.
const ORDERS: usize = 16;

/// What became of an order: a sentence for people.
type Outcome = Result<String, OrderError>;

/// An order, and where its outcome is waited for.
pub(super) type Asked = (Order, SyncSender<Outcome>);

/// The thread; it ends when this is dropped.
pub(in crate::engine) struct ManagerThread {
    orders: Option<SyncSender<Asked>>,
    thread: Option<JoinHandle<()>>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
}

/// Where orders go. The thread ends once all of these are gone too.
pub(in crate::engine) struct OrderQueue(SyncSender<Asked>);

/// Starts the thread.
///
/// # Errors
/// The system starts none.
pub(super) fn start(manager: PluginManager, board: Arc<Board>) -> std::io::Result<ManagerThread> {
    let (orders, asked) = sync_channel(ORDERS);
    let (working, ended) = sync_channel(0);
    let run = move || {
        let _working = working;
        guard(&board, Thread::Plugins, || manager.run(&asked));
    };
    let thread = std::thread::Builder::new().name(Thread::Plugins.name().into()).spawn(run)?;
    Ok(ManagerThread { orders: Some(orders), thread: Some(thread), ended })
}

impl OrderQueue {
    /// Has something done, and waits for its outcome.
    pub(in crate::engine) fn order(&self, order: Order) -> Outcome {
        self.send(order)?.recv_timeout(ANSWER).map_err(|fault| match fault {
            RecvTimeoutError::Timeout => OrderError::OutcomeUnknown(ANSWER),
            RecvTimeoutError::Disconnected => OrderError::Ended,
        })?
    }

    /// Has something done; where its outcome comes.
    pub(in crate::engine) fn send(&self, order: Order) -> Result<Receiver<Outcome>, OrderError> {
        let (answer, outcome) = sync_channel(1);
        self.0.try_send((order, answer)).map_err(|fault| match fault {
            TrySendError::Full(_) => OrderError::QueueFull(ORDERS),
            TrySendError::Disconnected(_) => OrderError::Ended,
        })?;
        Ok(outcome)
    }
}

impl ManagerThread {
    /// The thread's queue, while it works.
    pub(in crate::engine) fn queue(&self) -> Result<OrderQueue, OrderError> {
        self.orders.clone().map(OrderQueue).ok_or(OrderError::Ended)
    }

    /// Ends the lanes that replay history, and the thread. What one that is left behind does is in no state yet.
    pub(in crate::engine) fn end(&mut self) {
        self.orders = None;
        let Some(thread) = self.thread.take() else { return };
        if self.ended.recv_timeout(PARTING) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the thread that looks after plugins hangs in a file or a plugin; it is not waited for any longer"
            );
            return;
        }
        // Its panic is on the board.
        drop(thread.join());
    }
}

impl Drop for ManagerThread {
    fn drop(&mut self) {
        self.end();
    }
}
