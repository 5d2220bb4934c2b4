//! What the server asks of an engine: the façade as a trait, so that the routes can be tried without one.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tally_engine::config::EventsConfig;
use tally_engine::engine::{
    AppendError, Appended, Bounds, Check, Engine, EvaluateError, Evaluated, FeedItem, LogReader, LogRecord, MetricInfo,
    Order, Question, Refusals, Rejected, Revision, StateDump, StoredMetric, StoredRows,
};
use tally_engine::event::Position;

/// A stretch of the log, a batch of records at a time; blocks.
pub type Records = Box<dyn Iterator<Item = Result<Vec<LogRecord>, String>> + Send>;

/// The engine, as the server sees it. `evaluate`, `append`, `dead_letters`, `log_bounds`, `log_read`, `state_dump`,
/// `stored` and `stored_rows` block; the rest returns at once.
pub trait Core: Send + Sync + 'static {
    /// The metrics, by name.
    fn metrics(&self) -> Vec<MetricInfo>;

    /// One metric.
    fn metric(&self, name: &str) -> Option<MetricInfo>;

    /// The revisions of a metric, each with its answers to the metric's examples; none for an unknown name. Blocks.
    fn revisions(&self, name: &str) -> Vec<Revision>;

    /// Has a revision take another's place; what was done. Blocks.
    ///
    /// # Errors
    /// A sentence: why it was not done.
    fn order(&self, order: Order) -> Result<String, String>;

    /// The files that were refused.
    fn rejected(&self) -> Vec<Rejected>;

    /// Answers a question.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError>;

    /// Answers a question if that is over at once; `None` says to use `evaluate`.
    fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>>;

    /// The newest dead letters, of one reason if told; blocks.
    ///
    /// # Errors
    /// A sentence: they cannot be read.
    fn dead_letters(&self, limit: usize, reason: Option<&str>) -> Result<Refusals, String>;

    /// Validates and writes events.
    ///
    /// # Errors
    /// [`AppendError`].
    fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError>;

    /// Every new event from now on; ends when the engine stops.
    fn subscribe(&self) -> BoxStream<'static, FeedItem>;

    /// Where the engine stands.
    fn position(&self) -> Position;

    /// Where a metric stands; none for an unknown one. Blocks.
    fn stands(&self, metric: &str) -> Option<Position>;

    /// Whether it can be asked, part by part.
    fn readiness(&self) -> Vec<Check>;

    /// How records become events.
    fn events(&self) -> EventsConfig;

    /// What the log holds of each partition.
    ///
    /// # Errors
    /// A sentence: it does not answer.
    fn log_bounds(&self) -> Result<Vec<Bounds>, String>;

    /// The records of a partition in `[from, to)`.
    ///
    /// # Errors
    /// A sentence: it does not answer, or there is no such stretch.
    fn log_read(&self, partition: u32, from: u64, to: u64) -> Result<Records, String>;

    /// What a metric has counted, at one moment.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError>;

    /// What the store holds of each metric.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError>;

    /// The stored rows of a table whose keys begin with `key`, and the table.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn stored_rows(&self, metric: &str, table: &str, key: &[String]) -> Result<StoredRows, EvaluateError>;
}

impl Core for Engine {
    fn metrics(&self) -> Vec<MetricInfo> {
        Engine::metrics(self)
    }

    fn metric(&self, name: &str) -> Option<MetricInfo> {
        Engine::metric(self, name)
    }

    fn revisions(&self, name: &str) -> Vec<Revision> {
        Engine::revisions(self, name)
    }

    fn order(&self, order: Order) -> Result<String, String> {
        Engine::order(self, order)
    }

    fn rejected(&self) -> Vec<Rejected> {
        Engine::rejected(self)
    }

    fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError> {
        Engine::evaluate(self, question)
    }

    fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>> {
        Engine::ready_answer(self, question)
    }

    fn dead_letters(&self, limit: usize, reason: Option<&str>) -> Result<Refusals, String> {
        Engine::dead_letters(self, limit, reason)
    }

    fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        Engine::append(self, events)
    }

    fn subscribe(&self) -> BoxStream<'static, FeedItem> {
        // The pending `next` lives in the stream, so dropping a poll loses nothing.
        stream::unfold(Engine::subscribe(self), async |mut feed| feed.next().await.map(|item| (item, feed))).boxed()
    }

    fn position(&self) -> Position {
        Engine::position(self)
    }

    fn stands(&self, metric: &str) -> Option<Position> {
        Engine::stands(self, metric)
    }

    fn readiness(&self) -> Vec<Check> {
        Engine::readiness(self)
    }

    fn events(&self) -> EventsConfig {
        Engine::events(self).clone()
    }

    fn log_bounds(&self) -> Result<Vec<Bounds>, String> {
        Engine::log_bounds(self)
    }

    fn log_read(&self, partition: u32, from: u64, to: u64) -> Result<Records, String> {
        let mut reader: LogReader = Engine::log_read(self, partition, from, to)?;
        let next = move || Some(reader.batch()).filter(|batch| !batch.as_ref().is_ok_and(Vec::is_empty));
        Ok(Box::new(std::iter::from_fn(next)))
    }

    fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError> {
        Engine::state_dump(self, name)
    }

    fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError> {
        Engine::stored(self)
    }

    fn stored_rows(&self, metric: &str, table: &str, key: &[String]) -> Result<StoredRows, EvaluateError> {
        Engine::stored_rows(self, metric, table, key)
    }
}
