//! The thread of the plugin manager, and the queue of orders to it.
//!
//! The queue is bounded: an order that finds it full is refused. The thread ends when the queue is
//! closed; one that hangs in a file system or a plugin is left running.

use super::manager::PluginManager;
use crate::engine::tried_plugin::TriedPlugins;
use crate::engine::{ForeseenSection, ORDER_LIMIT, Order, OrderError, PutSection, SectionError};
use crate::pipeline::{LaneStatus, Thread, guard};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use toml::Table;

/// How long to wait for the thread's end.
const PARTING: Duration = Duration::from_secs(5);

/// Orders that may wait.
const ORDERS: usize = 16;

/// The outcome of an order; a sentence for people says what was done.
type Outcome = Result<String, OrderError>;

/// Work that the thread does between two steps of a pass; it sends its outcome by itself.
pub(super) type Asked = Box<dyn FnOnce(&mut PluginManager) + Send>;

/// The thread; dropping this ends it.
pub(in crate::engine) struct ManagerThread {
    orders: Option<SyncSender<Asked>>,
    thread: Option<JoinHandle<()>>,
    /// The thread closes it when it ends.
    ended: Receiver<()>,
    /// Where plugins are named that it calls itself.
    tried: Arc<TriedPlugins>,
}

/// Where orders go. The thread does not end before all of these are dropped.
pub(in crate::engine) struct OrderQueue(SyncSender<Asked>);

/// Starts the thread.
///
/// # Errors
/// The system starts no thread.
pub(super) fn start(
    manager: PluginManager,
    status: Arc<LaneStatus>,
    tried: Arc<TriedPlugins>,
) -> std::io::Result<ManagerThread> {
    let (orders, asked) = sync_channel(ORDERS);
    let (working, ended) = sync_channel(0);
    let run = move || {
        let _working = working;
        guard(&status, Thread::Plugins, || manager.run(&asked));
    };
    let thread = std::thread::Builder::new().name(Thread::Plugins.name().into()).spawn(run)?;
    Ok(ManagerThread { orders: Some(orders), thread: Some(thread), ended, tried })
}

impl OrderQueue {
    /// Has an order carried out, and waits for its outcome until then.
    pub(in crate::engine) fn order(&self, order: Order, until: Instant) -> Outcome {
        received_until(&self.send(order)?, until)?
    }

    /// Has an order carried out; its outcome arrives at the receiver.
    pub(in crate::engine) fn send(&self, order: Order) -> Result<Receiver<Outcome>, OrderError> {
        self.enqueue(move |manager| manager.execute_order(&order))
    }

    /// Has a section of the data directory added or changed, and waits for the outcome.
    pub(in crate::engine) fn put_section(
        &self,
        name: String,
        section: Table,
    ) -> Result<PutSection, SectionError> {
        received(&self.enqueue(move |manager| manager.put_section(&name, section))?)?
    }

    /// Has the thread say what the same would do, and waits for it.
    pub(in crate::engine) fn foresee_put(
        &self,
        name: String,
        section: Table,
    ) -> Result<ForeseenSection, SectionError> {
        received(&self.enqueue(move |manager| manager.foresee_put(&name, section))?)?
    }

    /// Has a section of the data directory taken away, and waits for the outcome.
    pub(in crate::engine) fn delete_section(&self, name: String) -> Result<String, SectionError> {
        received(&self.enqueue(move |manager| manager.delete_section(&name))?)?
    }

    /// Has the thread say what the same would do, and waits for it.
    pub(in crate::engine) fn foresee_delete(
        &self,
        name: String,
    ) -> Result<ForeseenSection, SectionError> {
        received(&self.enqueue(move |manager| manager.foresee_delete(&name))?)?
    }

    fn enqueue<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut PluginManager) -> T + Send + 'static,
    ) -> Result<Receiver<T>, OrderError> {
        let (answer, outcome) = sync_channel(1);
        let work: Asked = Box::new(move |manager: &mut PluginManager| {
            // A caller that no longer waits finds the outcome in the lists of what is served.
            let _ = answer.send(work(manager));
        });
        self.0.try_send(work).map_err(|fault| match fault {
            TrySendError::Full(_) => OrderError::QueueFull(ORDERS),
            TrySendError::Disconnected(_) => OrderError::Ended,
        })?;
        Ok(outcome)
    }
}

fn received<T>(outcome: &Receiver<T>) -> Result<T, OrderError> {
    received_until(outcome, Instant::now() + ORDER_LIMIT)
}

fn received_until<T>(outcome: &Receiver<T>, until: Instant) -> Result<T, OrderError> {
    let left = until.saturating_duration_since(Instant::now());
    outcome.recv_timeout(left).map_err(|fault| match fault {
        RecvTimeoutError::Timeout => OrderError::OutcomeUnknown(ORDER_LIMIT),
        RecvTimeoutError::Disconnected => OrderError::Ended,
    })
}

impl ManagerThread {
    /// The thread's queue, unless a plugin that the thread calls does not return.
    ///
    /// # Errors
    /// [`OrderError::Ended`], [`OrderError::NotPossible`].
    pub(in crate::engine) fn queue(&self) -> Result<OrderQueue, OrderError> {
        if let Some(stuck) = self.tried.stuck_in_manager() {
            return Err(OrderError::NotPossible(format!(
                "nothing was done: the thread that manages plugins has been waiting for {stuck}; \
                 if it does not return, restart the engine (GET /readyz?verbose says why it was \
                 called)"
            )));
        }
        self.orders.clone().map(OrderQueue).ok_or(OrderError::Ended)
    }

    /// Ends the lanes that replay history, and the thread. What a thread that is left running does
    /// reaches no state.
    pub(in crate::engine) fn end(&mut self) {
        self.orders = None;
        let Some(thread) = self.thread.take() else { return };
        if self.ended.recv_timeout(PARTING) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "the thread that manages plugins hangs in a file or a plugin; the engine stops \
                 without it"
            );
            return;
        }
        // If it panicked, the status has the reason.
        drop(thread.join());
    }
}

impl Drop for ManagerThread {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tried_plugin::TriedPlugin;

    fn thread(tried: TriedPlugins) -> ManagerThread {
        let ((orders, _), (_, ended)) = (sync_channel(1), sync_channel(0));
        ManagerThread { orders: Some(orders), thread: None, ended, tried: Arc::new(tried) }
    }

    #[test]
    fn no_order_waits_for_a_plugin_that_does_not_return() {
        let preview = TriedPlugin::hung("elsewhere");
        assert!(thread(TriedPlugins { preview, ..TriedPlugins::default() }).queue().is_ok());
        let hung = || Arc::new(TriedPlugin::hung("slow"));
        for tried in [
            TriedPlugins { judging: hung(), ..TriedPlugins::default() },
            TriedPlugins { loading: hung(), ..TriedPlugins::default() },
        ] {
            let Err(OrderError::NotPossible(why)) = thread(tried).queue() else {
                panic!("it waits")
            };
            assert!(why.contains("waiting for the plugin \"slow\" for 1"), "{why}");
        }
    }
}
