//! Orders of a person, and the list of revisions: the façade's side. The plugin manager carries
//! orders out (`lifecycle`); what needs no thread, or would block it, is done here.

use super::catalog::ServedRevision;
use super::lifecycle::{stored, unserved};
use super::{Engine, Question, Revision, Role};
use crate::store::{RevisionId, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long the engine waits for the outcome of an order. Who has it wait allows a second more:
/// what is known of the outcome is said here.
pub const ORDER_LIMIT: Duration = Duration::from_secs(9);

/// How long a metric is watched for commits of other engines: while events come, they commit
/// several times in this time.
const WATCHED: Duration = Duration::from_millis(1_500);

/// How many times it is watched: an engine that has just retired the metric may still be
/// committing.
const LOOKS: usize = 3;

/// An order of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// About one metric.
    Metric(MetricOrder),
    /// A partition continues without the records at which it is stopped.
    Skip {
        /// Which.
        partition: u32,
        /// Offset of the first of them.
        offset: u64,
    },
    /// Configuration and plugin folders are checked now.
    Check,
    /// The clock is right although it is ahead: panes and records expire by it from now on.
    AcceptClock,
}

/// An order about a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricOrder {
    /// Which metric.
    pub metric: String,
    /// What is to be done.
    pub change: MetricChange,
    /// Nothing is done; the outcome says what would be.
    pub dry_run: bool,
}

/// What can be done about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricChange {
    /// The newer revision answers from now on.
    Promote,
    /// The previous one answers again.
    Rollback,
    /// Everything that is stored of it is removed; it must not be served.
    Purge,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    /// It is not possible now, and nothing was done; the sentence says why, and what to do first.
    #[error("{0}")]
    NotPossible(String),
    /// It was not done, or only in part; the sentence says what failed.
    #[error("{0}")]
    Failed(String),
    /// It was not done, or only in part, because the store did not do its share.
    #[error("{what}: {fault}")]
    Store {
        /// What was not done.
        what: String,
        /// What the store said.
        fault: StoreError,
    },
    /// So many orders wait already.
    #[error(
        "nothing was done: the command queue is full ({0} orders wait, because the engine is busy \
         with plugins); try again"
    )]
    QueueFull(usize),
    /// It was not done within this time, and may still be done.
    #[error(
        "the outcome is unknown after {} s, because the engine is busy with plugins; it is still \
         to be done: check `tally plugin list`",
        .0.as_secs()
    )]
    OutcomeUnknown(Duration),
    /// It was done, and may be undone by a power cut; the sentence says why.
    #[error("{0}")]
    InDoubt(String),
    /// The thread that manages plugins has ended.
    #[error(
        "nothing was done: the engine is stopping, or the thread that manages plugins has ended \
         (GET /readyz says which)"
    )]
    Ended,
}

impl OrderError {
    /// Whether the same order may succeed later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            OrderError::Failed(_) | OrderError::QueueFull(_) => true,
            OrderError::Store { fault, .. } => fault.retry_helps(),
            OrderError::NotPossible(_)
            | OrderError::OutcomeUnknown(_)
            | OrderError::InDoubt(_)
            | OrderError::Ended => false,
        }
    }
}

impl Engine {
    /// The revisions of a metric that are counted now, the one that answers first, with their
    /// answers to its examples; none for a name that is not served. Blocks: call it off the async
    /// threads.
    pub fn revisions(&self, name: &str) -> Vec<Revision> {
        let counted: Vec<RevisionRow> = {
            let catalog = self.catalog.read();
            let counted = |role, served: &Arc<ServedRevision>| RevisionRow {
                role,
                served: served.clone(),
                held: None,
                until: None,
            };
            let served = catalog.answering.get(name).map(|served| counted(Role::Answering, served));
            let next = catalog.newer.get(name);
            let next = next.map(|next| RevisionRow {
                held: next.held.clone(),
                ..counted(Role::Next, &next.served)
            });
            let before = catalog.previous.get(name);
            let before = before.map(|before| RevisionRow {
                until: Some(before.until_ms),
                ..counted(Role::Before, &before.served)
            });
            served.into_iter().chain(next).chain(before).collect()
        };
        let examples = counted.first().map(|counted| counted.served.description.clone());
        let ask = |served: &Arc<ServedRevision>| {
            let examples = examples.iter().flat_map(|description| &description.examples);
            let answer = |example: &tally_plugin::description::Example| {
                // It would keep the thread and the place of who asks.
                self.answering.none_hangs(name)?;
                let question = Question {
                    name: name.to_owned(),
                    params: example.params.clone(),
                    at_least: None,
                    wait: Duration::ZERO,
                    allow_partial: true,
                    calling: Arc::default(),
                };
                self.evaluate_of(served, &question)
            };
            examples.map(answer).collect()
        };
        let of = |RevisionRow { role, served, held, until }| Revision {
            role,
            id: served.number(),
            info: served.info(&self.view, &self.status),
            sha256: served.askable.plugin.sha256().to_owned(),
            keep_old: served.askable.plugin.keep_old(),
            held,
            until,
            examples: ask(&served),
        };
        counted.into_iter().map(of).collect()
    }

    /// Has the thread that manages plugins carry out an order; the sentence says what was done, or
    /// of a dry run what would be. Blocks until that is done, some seconds at most.
    ///
    /// # Errors
    /// [`OrderError`].
    pub fn order(&self, order: Order) -> Result<String, OrderError> {
        let until = Instant::now() + ORDER_LIMIT;
        if order == Order::AcceptClock {
            let now =
                jiff::Timestamp::from_millisecond(self.view.clock().accept()).unwrap_or_default();
            tracing::warn!("the clock was confirmed by a person: it is {now}");
            return Ok(format!(
                "it is {now}; minutes, hours and records expire by that from now on"
            ));
        }
        if let Order::Metric(MetricOrder { metric, change: MetricChange::Purge, .. }) = &order {
            self.counted_nowhere(metric)?;
        }
        let queue = self.manager.lock().queue()?;
        queue.order(order, until)
    }

    /// Has configuration and plugin folders checked now, rather than within half a second; returns
    /// at once. The configuration is read again even if its file seems unchanged; faults in it are
    /// logged, and what is served stays as it is.
    pub fn check_now(&self) {
        let asked =
            self.manager.lock().queue().and_then(|queue| queue.send(Order::Check).map(drop));
        if let Err(reason) = asked {
            tracing::warn!("configuration and plugin folders are not checked: {reason}");
        }
    }

    /// Refuses a metric that is counted here or, as far as the store shows, by another engine.
    /// Blocks for some seconds where engines share the store.
    fn counted_nowhere(&self, name: &str) -> Result<(), OrderError> {
        let retired = {
            let catalog = self.catalog.read();
            unserved(&catalog, name)?;
            catalog.retired.get(name).cloned()
        };
        if !self.shared {
            return Ok(());
        }
        let fault = |fault: StoreError| OrderError::Store {
            what: format!("it is unknown whether another engine counts {name}"),
            fault,
        };
        let look = || {
            let stored = stored(&*self.state_store, name, retired.as_ref())?;
            let of =
                |revision: &RevisionId| Ok((revision.clone(), self.state_store.stored(revision)?));
            stored.iter().map(of).collect::<Result<Vec<_>, StoreError>>()
        };
        let mut before = look().map_err(fault)?;
        for _ in 0..LOOKS {
            let until = Instant::now() + WATCHED;
            while let Some(left) =
                until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                self.view.wait_for_change(left);
            }
            let after = look().map_err(fault)?;
            if after == before {
                return Ok(());
            }
            before = after;
        }
        Err(OrderError::NotPossible(format!(
            "another engine counts {name}: remove its file or its section there too, then purge it \
             (each engine lists what it serves: tally plugin list --url URL)"
        )))
    }
}

/// A revision and its role for the metric.
struct RevisionRow {
    role: Role,
    served: Arc<ServedRevision>,
    held: Option<String>,
    until: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_given_again_where_time_alone_may_change_the_outcome() {
        let store = |fault| OrderError::Store { what: "nothing was removed".into(), fault };
        let damaged = store(StoreError::Corrupt("frame 3".into()));
        for (error, helps) in [
            (OrderError::Failed("a lane is late".into()), true),
            (OrderError::QueueFull(8), true),
            (store(StoreError::Unavailable("it is away".into())), true),
            (damaged.clone(), false),
            (OrderError::NotPossible("it is served".into()), false),
            (OrderError::OutcomeUnknown(Duration::from_secs(5)), false),
            (OrderError::InDoubt("no".into()), false),
            (OrderError::Ended, false),
        ] {
            assert_eq!(error.retry_helps(), helps, "{error}");
        }
        assert_eq!(
            damaged.to_string(),
            "nothing was removed: the store holds data that this engine cannot read: frame 3"
        );
    }
}
