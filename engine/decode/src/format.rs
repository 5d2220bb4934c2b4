//! The seam between records and events: what a format of records is, and the formats that there
//! are. A new format is a folder with its `KIND`, a line in [`KINDS`], and a key of `[events]` by
//! which `configured` chooses it; today all records are JSON.
//!
//! A format says what is in a record. What that means is judged outside of it, once for all
//! formats: what an id, a type and a time may be, which fields are required, aliases, duplicates,
//! properties as columns, the reasons of dead letters.

use super::json;
use super::property::PropertyValue;
use super::reader::BatchReader;
use super::{EventsError, Hint, PropertyError, Reason};
use std::fmt;
use std::sync::Arc;
use tally_config::EventsConfig;
use tally_event::PropertySource;

/// What a format offers before records are read.
pub(super) struct FormatKind {
    /// Lays out what `[events]` asks for.
    pub(super) open: fn(&EventsConfig) -> Result<Box<dyn BatchReader>, EventsError>,
}

/// Every format.
const KINDS: &[FormatKind] = &[json::KIND];

/// A reader of the configured format.
///
/// # Errors
/// [`EventsError`]: a setting cannot be used.
pub(super) fn open(events: &EventsConfig) -> Result<Box<dyn BatchReader>, EventsError> {
    (configured(events).open)(events)
}

/// The format of the records. `[events]` has no key for it today, because all are JSON; the second
/// format adds one, and is chosen here.
fn configured(_: &EventsConfig) -> &'static FormatKind {
    &KINDS[0]
}

/// One format of records: the bytes of a record to the values that events are made of.
///
/// The result depends on the payload and the configuration alone, whatever was read before:
/// [`Format::Memory`] only makes it faster. Every payload has 1 to [`MAX_BYTES`](super::MAX_BYTES)
/// bytes. Methods are called per event, but by code that is compiled for the format
/// ([`FormatReader`](super::reader::FormatReader)): callers outside make one virtual call per
/// batch. A format must pass the suite in `contract.rs`.
///
/// Records carry no headers today. A format that needs them (CloudEvents in binary mode) adds them
/// to [`tally_event::Record`] and to its sources, and takes the record here in place of its
/// payload.
pub(super) trait Format: Clone + fmt::Debug + Send + Sync + 'static {
    /// Buffers and caches that pass from record to record.
    type Memory: fmt::Debug + Send + Sync;

    /// A memory in which nothing was read yet. Allocates nothing where no properties are declared.
    fn memory(&self) -> Self::Memory;

    /// The mapped fields of a record.
    ///
    /// # Errors
    /// Why the payload is not a record of this format; nothing that a value means.
    fn read<'a>(
        &self,
        memory: &'a mut Self::Memory,
        payload: &'a [u8],
    ) -> Result<Fields<'a>, Reason>;

    /// From now on these properties are found too, in this order, and no others. A memory made
    /// before must not be used any more.
    ///
    /// # Errors
    /// [`PropertyError`]: one cannot be found in this format. What was found before still is.
    fn read_properties(&mut self, sources: &[Arc<PropertySource>]) -> Result<(), PropertyError>;

    /// The `n`-th declared property of the record that was read last into `memory`.
    fn property<'a>(&self, memory: &Self::Memory, payload: &'a [u8], n: usize)
    -> PropertyValue<'a>;

    /// Appends what an accepted record holds beside the mapped fields, as members of a JSON object
    /// (`,"key":value`), on one line. Members with the name of a field are left out.
    ///
    /// # Errors
    /// The payload is not a record of this format.
    fn write_other_members(&self, payload: &[u8], out: &mut String) -> Result<(), Reason>;

    /// What a payload that was refused probably is, as far as this format can tell.
    fn hint(&self, payload: &[u8]) -> Option<Hint>;
}

/// The mapped fields of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    /// In the order of [`Field::ALL`](super::Field::ALL).
    pub(super) values: [Value<'a>; 5],
    /// Whether the format knows that no text among them holds a control character, which spares the
    /// search for one.
    pub(super) clean: bool,
}

/// A mapped value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Not there, or a null.
    Absent,
    /// A text, UTF-8.
    Text(&'a [u8]),
    /// A number.
    Number(Number),
    /// Anything else: a truth value, a container.
    Other,
}

/// A number, by its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// An integer that is not negative.
    Natural(u64),
    /// A negative integer. Never zero.
    Negative(i64),
    /// An integer that does not fit the two above.
    Huge,
    /// Not an integer.
    Other,
}
