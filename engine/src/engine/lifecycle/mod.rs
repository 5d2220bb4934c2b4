//! A plugin's life while the engine runs: files appear, change and disappear; metrics count their
//! history in a lane of their own and then join the main one; code is replaced; revisions take
//! turns.
//!
//! `observe` puts what is served into plain data (`snapshot`), from which `reconcile` decides what
//! to do. `manager` runs the thread and hands each action to the file that carries it out: `serve`
//! and `versions` for metrics and their revisions, `replace_code`, `lane_pool` and `leave` for
//! lanes. The `notebook` keeps what outlives the engine; `roles` restores it.

mod foreign_revisions;
mod foreseen;
mod foreseen_section;
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
mod section_room;
mod sections;
mod serve;
mod snapshot;
mod thread;
mod versions;
mod watched_file;

pub(super) use manager::{ManagerParts, start};
pub(super) use notebook::Notebook;
pub(super) use purge::{stored, unserved};
pub(super) use roles::{Reading, Recall, Roles};
pub(super) use sections::MetricSections;
pub(super) use thread::ManagerThread;
