//! `tally plugin`: the author's kit. Commands that ask a running engine are in `query`.
//!
//! A plugin file is only ever loaded in a process of its own ([`inside`]), which [`child`] starts,
//! reads and ends: a file that ends the process, or never returns, becomes a line of the report.

pub(crate) mod args;
mod check;
mod child;
mod golden;
mod inside;
mod new;
mod report;

use super::{Failure, query};
use args::{Plugin, PluginCommand};

pub(crate) fn run(args: &Plugin) -> Result<(), Failure> {
    match &args.command {
        PluginCommand::List { engine, json } => query::plugins(engine, *json),
        PluginCommand::Promote { name, engine } => query::order(engine, name, "promote"),
        PluginCommand::Rollback { name, engine } => query::order(engine, name, "rollback"),
        PluginCommand::Purge { name, yes, json, engine } => query::purge(engine, name, *yes, *json),
        PluginCommand::New(args) => new::run(args),
        PluginCommand::Check(args) => check::run(args),
        PluginCommand::Test(args) => golden::run(args),
        PluginCommand::Inside => inside::run(),
    }
}
