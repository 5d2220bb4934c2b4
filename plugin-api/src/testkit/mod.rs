//! Runs a metric without an engine: events in, answers out, and the laws that every metric must keep.
//!
//! Nothing here is fast: state is a map, and a read looks at all of it. It is what the engine's own state and reader are
//! compared with, so it is written to be obviously right.

mod cell;
mod conformance;
mod events;
mod execute;
mod fits;
pub mod golden;
mod question;
mod state;
mod subject;

pub use cell::CellState;
pub use conformance::{Check, LAWS, Law, Trial, conforms};
pub use events::{Event, Random, add_properties, as_columns, day_of_events, event, odd_events, random_events};
pub use execute::execute;
pub use fits::fits;
pub use question::{Question, ask};
pub use state::{Keys, State, TableState};
pub use subject::Subject;
