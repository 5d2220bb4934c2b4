//! Why a decoder cannot be made, or cannot read a property. Each error is a sentence that names the
//! setting and says what it may be; trying again does not help.

use super::reason::Field;
use tally_config::pointer::PointerFault;
use tally_config::{EventTimeFault, MAX_DEDUPE_WINDOW};
use thiserror::Error;

/// A setting of `[events]` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventsError {
    /// The dedupe window: so many offsets do not fit in memory.
    #[error("[events] dedupe_window is {0}: at most {MAX_DEDUPE_WINDOW} offsets fit in memory")]
    DedupeWindow(u64),
    /// `required` names what cannot be required.
    #[error(
        "[events] required names \"{0}\": only user_id, product_id and event_type can be required"
    )]
    Required(String),
    /// The earliest time of an event.
    #[error("[events] earliest {0}")]
    Earliest(EventTimeFault),
    /// How far an event may be ahead.
    #[error("[events] max_ahead {0}")]
    MaxAhead(EventTimeFault),
    /// An alias leads to what is not an event type.
    #[error(
        "[events.aliases] \"{from}\" = \"{to}\": an event type is a-z, then up to 31 of a-z, 0-9 \
         and _"
    )]
    Alias {
        /// What is renamed.
        from: String,
        /// What it is renamed to.
        to: String,
    },
    /// `types` names what is not an event type.
    #[error("[events] types names \"{0}\": an event type is a-z, then up to 31 of a-z, 0-9 and _")]
    Type(String),
    /// The pointer of a field is not valid.
    #[error("[events.fields] {} = \"{pointer}\": {fault}", .field.name())]
    Pointer {
        /// The field.
        field: Field,
        /// Its pointer.
        pointer: String,
        /// What is wrong with it.
        fault: PointerFault,
    },
    /// The pointer of a field crosses that of another.
    #[error(
        "[events.fields] {} = \"{pointer}\" leads into a value that another field takes whole, or \
         the other way round",
        .field.name()
    )]
    Crossing {
        /// The field.
        field: Field,
        /// Its pointer.
        pointer: String,
    },
}

/// A property of events cannot be read: its pointer is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{pointer}\": {fault}")]
pub struct PropertyError {
    /// The pointer, as it is declared.
    pub pointer: String,
    /// What is wrong with it.
    pub fault: PointerFault,
}
