//! A plugin's life while the engine runs: files that come, change and go; metrics that count their history in a lane of their own
//! and then join the main one; code that is replaced; revisions that take turns.
//!
//! What is to be done is decided in `reconcile`, from plain data (`snapshot`). `observe` makes that of what is served; `manager` has
//! the thread and hands each action to the file that carries it out: `serve` and `versions` for metrics and their revisions,
//! `replace_code`, `lane_pool` and `leave` for lanes. What outlives the engine is in the `notebook`; `roles` brings it back.

mod foreign_revisions;
mod lane_pool;
mod leave;
mod leaving;
mod manager;
mod notebook;
mod observe;
mod orders;
mod purge;
mod reconcile;
mod replace_code;
mod roles;
mod scan;
mod serve;
mod snapshot;
mod thread;
mod versions;

pub(super) use manager::{ManagerParts, start};
pub(super) use notebook::Notebook;
pub(super) use purge::{stored, unserved};
pub(super) use roles::{Reading, Recall, Roles};
pub(super) use thread::ManagerThread;
