//! Runs a metric without an engine: events in, answers out, and the laws that every metric must
//! keep.
//!
//! Nothing here is fast: state is a map, and a read looks at all of it. The engine's own state and
//! reader are compared with it, so it is written to be obviously right.
//!
//! ```
//! use tally_plugin::prelude::*;
//! use tally_testkit::{State, ask, event};
//!
//! /// How many purchases there were.
//! struct Purchases;
//!
//! impl Metric for Purchases {
//!     const ABOUT: About = about!("purchases", revision = 1);
//!     type Config = ();
//!     type Params = ();
//!     type Answer = u64;
//!
//!     fn new((): ()) -> Result<Self, String> {
//!         Ok(Purchases)
//!     }
//!
//!     fn describe(&self) -> Description {
//!         let bought = table("bought").only(["buy"]).cell("n", sum(ONE)).tiers([DAYS.keep_all()]);
//!         Description::new("Number of purchases").table(bought).time().example(json!({}), "all")
//!     }
//!
//!     fn answer(&self, asked: &Request<()>, read: &Reader) -> Result<u64, Refusal> {
//!         Ok(read.table("bought").within(asked.window).run()?.total().count("n"))
//!     }
//! }
//!
//! let mut state = State::<Purchases>::new(json!({})).unwrap();
//! state.feed(&[event(1, 10, "buy", "2026-01-01T00:00:00Z"), event(1, 10, "view", "2026-01-01T00:00:00Z")]).unwrap();
//! assert_eq!(state.answer(&ask(json!({}))).unwrap(), json!(1));
//! ```

mod cell;
mod conformance;
mod events;
mod execute;
mod fits;
pub mod golden;
mod question;
mod state;
mod subject;
mod views;

pub use cell::CellState;
pub use conformance::{Check, LAWS, Law, Trial, conforms};
pub use events::{
    Event, Random, add_properties, as_columns, day_of_events, event, odd_events, random_events,
};
pub use execute::execute;
pub use fits::fits;
pub use question::{Question, ask};
pub use state::{Keys, State, TableState};
pub use subject::Subject;

// What `golden!` writes into an author's code.
#[doc(hidden)]
pub use serde_json::json;
