//! The command line: one file per command.
//!
//! Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 78
//! bad configuration, 130 ended by a second Ctrl-C.
//!
//! Part of the library, so that each binary that has it (`tally`, that of the fail points, the unit
//! tests) is linked and not compiled.

mod args;
pub(crate) mod client;
mod config;
mod context;
mod context_file;
mod dead_letters;
mod demo;
mod engine_args;
mod following;
#[cfg(test)]
mod following_tests;
mod heard;
mod import;
mod lag;
mod mcp;
mod migrate;
mod open;
pub(crate) mod output;
mod plugin;
mod produce;
mod query;
mod run;
mod settings;
mod start;
mod state;
pub(crate) mod stop;
mod tap;
mod target;
mod top;
mod verify;
mod watch;

use args::{Args, ClockCommand, Command};
use clap::Parser;
use std::process::ExitCode;
use tally_engine::config::fault::ConfigError;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It failed; the sentence says what to do.
    Failed(String),
    /// The arguments make no sense together.
    Usage(String),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// It failed, and everything has been printed already.
    Reported,
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) | Failure::Reported => 1,
            Failure::Usage(_) => 2,
            // EX_CONFIG of sysexits.h.
            Failure::Config(_) => 78,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::Config(error)
    }
}

/// Runs the command that the arguments of the process name.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // A failure to print does not change the exit code.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Some(command) = args.command else {
        output::data(args::SHORT.trim_end());
        return ExitCode::SUCCESS;
    };
    let result = match command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Produce(args) => produce::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Plugin(args) => plugin::run(&args),
        Command::DeadLetters(args) => dead_letters::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Skip(args) => query::skip(&args),
        Command::State(args) => state::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Clock(args) => match args.command {
            ClockCommand::Accept(engine) => query::accept_clock(&engine),
        },
        Command::Context(args) => context::run(&args),
        Command::Lag(args) => lag::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Tap(args) => tap::run(&args),
        Command::Mcp(args) => mcp::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match &failure {
                Failure::Failed(sentence) | Failure::Usage(sentence) => {
                    output::note(&format!("error: {sentence}"))
                }
                Failure::Config(error) => {
                    error.lines().iter().for_each(|line| output::note(&format!("error: {line}")))
                }
                Failure::Reported => {}
            }
            ExitCode::from(failure.code())
        }
    }
}
