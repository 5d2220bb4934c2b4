//! What the server needs of an engine: the façade as a trait, so that the routes can be tested
//! without an engine.

use std::sync::Arc;
use tally_engine::config::EventsConfig;
use tally_engine::database::DatabaseError;
use tally_engine::engine::{
    AppendError, Appended, Bounds, Check, Engine, EngineStatus, EvaluateError, Evaluated,
    EventPage, FeedFilter, FeedListener, FieldReport, ForeseenSection, FoundRecord,
    LetterReplayCounts, LetterReplayFault, ListenRefused, LiveQuestion, LogError, LogRecord,
    MetricInfo, Order, OrderError, PageRequest, PluginInfo, Preview, PreviewError, PreviewRequest,
    PutSection, Question, ReadLogError, Refusals, Rejected, ReplayTurns, Revision, SectionError,
    SectionInfo, StateDump, StoredMetric, StoredRows, WatchRequest,
};
use tally_engine::event::Position;
use toml::Table;

/// Consecutive records of the log, a batch at a time. `next` blocks.
pub type Records = Box<dyn Iterator<Item = Result<Vec<LogRecord>, LogError>> + Send>;

/// An engine, as the server sees it. Methods that block say so; the others return at once.
pub trait EngineApi: Send + Sync + 'static {
    /// The metrics, by name.
    fn metrics(&self) -> Vec<MetricInfo>;

    /// One metric.
    fn metric(&self, name: &str) -> Option<MetricInfo>;

    /// The name of each metric, with the word for its state. Measures nothing.
    fn metric_states(&self) -> Vec<(String, &'static str)>;

    /// The revisions of a metric, each with its answers to the metric's examples; none for an
    /// unknown name. Blocks.
    fn revisions(&self, name: &str) -> Vec<Revision>;

    /// Carries out an order of an operator; returns what was done, as a sentence. Blocks.
    ///
    /// # Errors
    /// [`OrderError`].
    fn order(&self, order: Order) -> Result<String, OrderError>;

    /// The sections of metrics, by name.
    fn sections(&self) -> Arc<Vec<SectionInfo>>;

    /// Adds or changes a section of the data directory. Blocks.
    ///
    /// # Errors
    /// [`SectionError`].
    fn put_section(&self, name: &str, section: Table) -> Result<PutSection, SectionError>;

    /// Takes a section of the data directory away; returns what was done, as a sentence. Blocks.
    ///
    /// # Errors
    /// [`SectionError`].
    fn delete_section(&self, name: &str) -> Result<String, SectionError>;

    /// What adding or changing a section would do; nothing is done. Blocks.
    ///
    /// # Errors
    /// [`SectionError`].
    fn foresee_put_section(
        &self,
        name: &str,
        section: Table,
    ) -> Result<ForeseenSection, SectionError>;

    /// What taking a section away would do; nothing is done. Blocks.
    ///
    /// # Errors
    /// [`SectionError`].
    fn foresee_delete_section(&self, name: &str) -> Result<ForeseenSection, SectionError>;

    /// The files that were refused.
    fn rejected(&self) -> Vec<Rejected>;

    /// The plugins that lie in the folders, by name.
    fn plugins(&self) -> Vec<PluginInfo>;

    /// Answers a question. Blocks.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError>;

    /// Answers several questions, at one position where the store can; their results have at most
    /// `most` bytes in sum. Waits for no position. Blocks.
    fn evaluate_together(
        &self,
        questions: &[Question],
        most: usize,
    ) -> Vec<Result<Evaluated, EvaluateError>>;

    /// Answers a question if that takes no time; `None` means: call `evaluate`.
    fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>>;

    /// Watches a question: it is answered now, and again whenever its answer may have changed.
    ///
    /// # Errors
    /// [`EvaluateError`]: nothing is watched.
    fn watch(&self, request: &WatchRequest) -> Result<LiveQuestion, EvaluateError>;

    /// The newest dead letters, at most `limit`, of one reason if `reason` is given. Blocks.
    ///
    /// # Errors
    /// [`DatabaseError`]: they cannot be read.
    fn dead_letters(&self, limit: usize, reason: Option<&str>) -> Result<Refusals, DatabaseError>;

    /// Judges dead letters again, of one reason if `reason` is given, and writes those that are
    /// events now and no longer in the log to the log. Blocks.
    ///
    /// # Errors
    /// [`LetterReplayFault`].
    fn replay_letters(&self, reason: Option<&str>)
    -> Result<LetterReplayCounts, LetterReplayFault>;

    /// Validates events and writes the valid ones to the log. Blocks.
    ///
    /// # Errors
    /// [`AppendError`].
    fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError>;

    /// Listens to the events that the filter takes: to new ones, or to those behind `since`, when
    /// it is its turn, also among those of its connection.
    ///
    /// # Errors
    /// [`ListenRefused`]; never without `since`.
    fn listen(
        &self,
        filter: FeedFilter,
        since: Option<Position>,
        turns: &ReplayTurns,
    ) -> Result<FeedListener, ListenRefused>;

    /// Events before a position, newest first. Blocks.
    ///
    /// # Errors
    /// [`ReadLogError`].
    fn events_before(&self, request: &PageRequest) -> Result<EventPage, ReadLogError>;

    /// One record with its verdict. Blocks.
    ///
    /// # Errors
    /// [`ReadLogError`].
    fn record(&self, partition: u32, offset: u64) -> Result<FoundRecord, ReadLogError>;

    /// The fields of about so many of the newest records. Blocks.
    ///
    /// # Errors
    /// [`ReadLogError`].
    fn fields(&self, records: u64) -> Result<FieldReport, ReadLogError>;

    /// Counts the newest records with a plugin that need not be served, and asks once. Blocks.
    ///
    /// # Errors
    /// [`PreviewError`].
    fn preview(&self, request: &PreviewRequest) -> Result<Preview, PreviewError>;

    /// The position that the engine has counted.
    fn position(&self) -> Position;

    /// The position that a metric has counted; none for an unknown metric. Blocks.
    fn metric_position(&self, metric: &str) -> Option<Position>;

    /// Whether it can answer questions, part by part.
    fn readiness(&self) -> Vec<Check>;

    /// What it does now. Waits for no log and no store.
    fn status(&self) -> EngineStatus;

    /// How records become events.
    fn events(&self) -> EventsConfig;

    /// The offsets that the log holds of each partition. Blocks.
    ///
    /// # Errors
    /// [`LogError`]: the log does not answer.
    fn log_bounds(&self) -> Result<Vec<Bounds>, LogError>;

    /// The records of a partition in `[from, to)`. Blocks.
    ///
    /// # Errors
    /// [`ReadLogError`].
    fn log_read(&self, partition: u32, from: u64, to: u64) -> Result<Records, ReadLogError>;

    /// What a metric has counted, at one moment. Blocks.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError>;

    /// What the store holds of each metric. Blocks.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError>;

    /// A table, and its stored rows whose keys begin with `key`. Blocks.
    ///
    /// # Errors
    /// [`EvaluateError`].
    fn stored_rows(
        &self,
        metric: &str,
        table: &str,
        key: &[String],
    ) -> Result<StoredRows, EvaluateError>;
}

impl EngineApi for Engine {
    fn metrics(&self) -> Vec<MetricInfo> {
        Engine::metrics(self)
    }

    fn metric(&self, name: &str) -> Option<MetricInfo> {
        Engine::metric(self, name)
    }

    fn metric_states(&self) -> Vec<(String, &'static str)> {
        Engine::metric_states(self)
    }

    fn revisions(&self, name: &str) -> Vec<Revision> {
        Engine::revisions(self, name)
    }

    fn order(&self, order: Order) -> Result<String, OrderError> {
        Engine::order(self, order)
    }

    fn sections(&self) -> Arc<Vec<SectionInfo>> {
        Engine::sections(self)
    }

    fn put_section(&self, name: &str, section: Table) -> Result<PutSection, SectionError> {
        Engine::put_section(self, name, section)
    }

    fn delete_section(&self, name: &str) -> Result<String, SectionError> {
        Engine::delete_section(self, name)
    }

    fn foresee_put_section(
        &self,
        name: &str,
        section: Table,
    ) -> Result<ForeseenSection, SectionError> {
        Engine::foresee_put_section(self, name, section)
    }

    fn foresee_delete_section(&self, name: &str) -> Result<ForeseenSection, SectionError> {
        Engine::foresee_delete_section(self, name)
    }

    fn rejected(&self) -> Vec<Rejected> {
        Engine::rejected(self)
    }

    fn plugins(&self) -> Vec<PluginInfo> {
        Engine::plugins(self)
    }

    fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError> {
        Engine::evaluate(self, question)
    }

    fn evaluate_together(
        &self,
        questions: &[Question],
        most: usize,
    ) -> Vec<Result<Evaluated, EvaluateError>> {
        Engine::evaluate_together(self, questions, most)
    }

    fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>> {
        Engine::ready_answer(self, question)
    }

    fn watch(&self, request: &WatchRequest) -> Result<LiveQuestion, EvaluateError> {
        Engine::watch(self, request)
    }

    fn dead_letters(&self, limit: usize, reason: Option<&str>) -> Result<Refusals, DatabaseError> {
        Engine::dead_letters(self, limit, reason)
    }

    fn replay_letters(
        &self,
        reason: Option<&str>,
    ) -> Result<LetterReplayCounts, LetterReplayFault> {
        Engine::replay_letters(self, reason)
    }

    fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        Engine::append(self, events)
    }

    fn listen(
        &self,
        filter: FeedFilter,
        since: Option<Position>,
        turns: &ReplayTurns,
    ) -> Result<FeedListener, ListenRefused> {
        Engine::listen(self, filter, since, turns)
    }

    fn events_before(&self, request: &PageRequest) -> Result<EventPage, ReadLogError> {
        Engine::events_before(self, request)
    }

    fn record(&self, partition: u32, offset: u64) -> Result<FoundRecord, ReadLogError> {
        Engine::record(self, partition, offset)
    }

    fn fields(&self, records: u64) -> Result<FieldReport, ReadLogError> {
        Engine::fields(self, records)
    }

    fn preview(&self, request: &PreviewRequest) -> Result<Preview, PreviewError> {
        Engine::preview(self, request)
    }

    fn position(&self) -> Position {
        Engine::position(self)
    }

    fn metric_position(&self, metric: &str) -> Option<Position> {
        Engine::metric_position(self, metric)
    }

    fn readiness(&self) -> Vec<Check> {
        Engine::readiness(self)
    }

    fn status(&self) -> EngineStatus {
        Engine::status(self)
    }

    fn events(&self) -> EventsConfig {
        Engine::events(self).clone()
    }

    fn log_bounds(&self) -> Result<Vec<Bounds>, LogError> {
        Engine::log_bounds(self)
    }

    fn log_read(&self, partition: u32, from: u64, to: u64) -> Result<Records, ReadLogError> {
        let mut reader = Engine::log_read(self, partition, from, to)?;
        let next =
            move || Some(reader.batch()).filter(|batch| !batch.as_ref().is_ok_and(Vec::is_empty));
        Ok(Box::new(std::iter::from_fn(next)))
    }

    fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError> {
        Engine::state_dump(self, name)
    }

    fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError> {
        Engine::stored(self)
    }

    fn stored_rows(
        &self,
        metric: &str,
        table: &str,
        key: &[String],
    ) -> Result<StoredRows, EvaluateError> {
        Engine::stored_rows(self, metric, table, key)
    }
}
