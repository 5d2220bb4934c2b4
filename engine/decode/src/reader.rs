//! Reads records with a format: a batch of them, or one by itself. Written once for all formats.
//!
//! Callers hold a [`BatchReader`] and make one virtual call per batch; the loop within is compiled
//! for each format, so that nothing in it is virtual. It decides nothing: formats say what is in a
//! record, `verdict` what it means.

use super::batch::BatchJudge;
use super::feed::{self, FeedFields};
use super::format::Format;
use super::property;
use super::rules::Rules;
use super::verdict::{self, Checked, Types, bounded};
use super::{Field, Hint, PropertyError, Reason, Refused};
use std::fmt;
use std::sync::Arc;
use tally_event::time::Minute;
use tally_event::{EventBatch, PropertySource, Record};

/// Reads records of one format. The methods for single records use none of what a batch left
/// behind.
pub(super) trait BatchReader: fmt::Debug + Send + Sync {
    /// Reads records in order: rows and properties of those that are events go to `out`, the others
    /// to `refused`, numbered from `first_index` on.
    fn read_batch(
        &mut self,
        records: &[Record<'_>],
        first_index: usize,
        judge: &mut BatchJudge,
        out: &mut EventBatch,
        refused: &mut Vec<Refused>,
    );

    /// The verdict on one record.
    fn check(&self, rules: &Rules, payload: &[u8], record_ms: i64) -> Result<Checked, Reason>;

    /// What an accepted record shows: its event as mapped, with its other members, on one line.
    fn feed_event(
        &self,
        rules: &Rules,
        payload: &[u8],
        record_ms: i64,
    ) -> Result<FeedFields, Reason>;

    /// The time that a record states, Unix milliseconds.
    fn stated_time(&self, payload: &[u8]) -> Option<i64>;

    /// What the format takes a refused payload for.
    fn format_hint(&self, payload: &[u8]) -> Option<Hint>;

    /// From the next batch on these properties are read, in this order, and no others; if it fails,
    /// nothing changes.
    fn read_properties(&mut self, sources: &[Arc<PropertySource>]) -> Result<(), PropertyError>;

    /// A reader of the same format and configuration that has read nothing yet.
    fn fresh(&self) -> Box<dyn BatchReader>;
}

/// A format and its memory of the records before.
#[derive(Debug)]
pub(super) struct FormatReader<F: Format> {
    format: F,
    memory: F::Memory,
}

impl<F: Format> FormatReader<F> {
    pub(super) fn new(format: F) -> FormatReader<F> {
        FormatReader { memory: format.memory(), format }
    }
}

impl<F: Format> BatchReader for FormatReader<F> {
    fn read_batch(
        &mut self,
        records: &[Record<'_>],
        first_index: usize,
        judge: &mut BatchJudge,
        out: &mut EventBatch,
        refused: &mut Vec<Refused>,
    ) {
        for (index, record) in records.iter().enumerate() {
            let payload = record.payload.unwrap_or_default();
            let fields = match bounded(payload) {
                Ok(payload) => self.format.read(&mut self.memory, payload),
                Err(reason) => Err(reason),
            };
            match fields.and_then(|fields| judge.add(record, &fields, out)) {
                Ok(()) => {
                    for n in 0..out.properties.len() {
                        property::push(n, self.format.property(&self.memory, payload, n), out);
                    }
                }
                Err(reason) => refused.push(Refused {
                    index: first_index + index,
                    offset: record.offset,
                    reason,
                }),
            }
        }
    }

    fn check(&self, rules: &Rules, payload: &[u8], record_ms: i64) -> Result<Checked, Reason> {
        let mut memory = self.format.memory();
        let fields = self.format.read(&mut memory, bounded(payload)?)?;
        let event =
            verdict::judge(rules, &fields, &mut Minute::default(), &mut Types::Plain, record_ms)?;
        Ok(Checked::of(&event))
    }

    fn feed_event(
        &self,
        rules: &Rules,
        payload: &[u8],
        record_ms: i64,
    ) -> Result<FeedFields, Reason> {
        let (mut memory, mut kind) = (self.format.memory(), String::new());
        let fields = self.format.read(&mut memory, bounded(payload)?)?;
        let event = verdict::judge(
            rules,
            &fields,
            &mut Minute::default(),
            &mut Types::Named(&mut kind),
            record_ms,
        )?;
        let (user, product) = (feed::shown_id(event.user), feed::shown_id(event.product));
        let mut text = String::with_capacity(payload.len() + 128);
        text.push('{');
        feed::write_fields(&event, &kind, &mut text);
        self.format.write_other_members(payload, &mut text)?;
        text.push('}');
        Ok(FeedFields { event: text, event_type: kind, user, product })
    }

    fn stated_time(&self, payload: &[u8]) -> Option<i64> {
        let mut memory = self.format.memory();
        let fields = self.format.read(&mut memory, bounded(payload).ok()?).ok()?;
        verdict::stated_time(fields.values[Field::Timestamp as usize], &mut Minute::default()).ok()
    }

    fn format_hint(&self, payload: &[u8]) -> Option<Hint> {
        self.format.hint(payload)
    }

    fn read_properties(&mut self, sources: &[Arc<PropertySource>]) -> Result<(), PropertyError> {
        self.format.read_properties(sources)?;
        self.memory = self.format.memory();
        Ok(())
    }

    fn fresh(&self) -> Box<dyn BatchReader> {
        Box::new(FormatReader::new(self.format.clone()))
    }
}
