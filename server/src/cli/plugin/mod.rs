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
        PluginCommand::Promote { name, engine, dry_run } => {
            query::order(engine, name, "promote", *dry_run)
        }
        PluginCommand::Rollback { name, engine, dry_run } => {
            query::order(engine, name, "rollback", *dry_run)
        }
        PluginCommand::Purge { name, dry_run, yes, json, engine } => {
            let answer = query::purge(engine, name, *yes, *dry_run)?;
            query::say(&answer, *json);
            Ok(())
        }
        PluginCommand::New(args) => new::run(args),
        PluginCommand::Check(args) => check::run(args),
        PluginCommand::Test(args) => golden::run(args),
        PluginCommand::Inside => inside::run(),
    }
}
