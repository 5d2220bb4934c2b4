//! The arguments of `tally plugin`.

use crate::cli::args::Engine;
use clap::{Args as Group, Subcommand};
use std::path::PathBuf;
use std::time::Duration;
use tally_engine::config::duration;

#[derive(Group, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Plugin {
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PluginCommand {
    /// Metrics with version, state and cost, and files that were refused
    List {
        #[command(flatten)]
        engine: Engine,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Let the newer revision of a metric answer
    Promote {
        /// The metric
        name: String,
        #[command(flatten)]
        engine: Engine,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Let the previous revision answer again
    Rollback {
        /// The metric
        name: String,
        #[command(flatten)]
        engine: Engine,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove everything stored for a metric that is no longer served
    Purge {
        /// The metric
        name: String,
        #[command(flatten)]
        engine: Engine,
        /// Only say what would happen
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a crate for a new metric, with its tests
    New(New),
    /// Check a plugin file, without an engine
    Check(CheckArgs),
    /// Run golden cases against a built plugin file
    Test(Test),
    /// Loads a plugin file for `check` and `test`
    #[command(hide = true)]
    Inside,
}

#[derive(Group, Debug)]
#[command(after_help = "  tally plugin new basket_size && cd basket_size && cargo test --release")]
pub(crate) struct New {
    /// Name of crate and metric: a-z first, then a-z 0-9 _, at most 64
    pub(crate) name: String,
    /// The folder to create [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where tally-plugin comes from: a checkout of Tally, or the URL of a git repository
    /// [default: the checkout that this binary was built from; if that is gone, the registry]
    #[arg(long, value_name = "PATH or URL")]
    pub(crate) sdk: Option<String>,
}

#[derive(Group, Debug)]
#[command(after_help = "\
The file is loaded in a process of its own, and needs no engine. Exit code 1 if anything is wrong with it.
A configuration is the content of [metrics.NAME.config]: a TOML or JSON file, or inline JSON.

  tally plugin check target/release/libbasket_size.so
  tally plugin check libproducts_popularity.so --config '{\"weights\":{\"buy\":7}}'")]
pub(crate) struct CheckArgs {
    /// The plugin file
    #[arg(value_name = "FILE.so")]
    pub(crate) file: PathBuf,
    /// The configuration to check it with [default: {}]
    #[arg(long, value_name = "FILE or JSON")]
    pub(crate) config: Option<String>,
    /// How long each check may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(after_help = "\
A golden case is a folder: events.ndjson as POST /api/events takes them, questions.ndjson with params, one question per line, and
answers.ndjson with the answer to the question on the same line. config.json, if there is one, is the configuration.
DIR is a crate (its cases are the folders in tests/golden), a folder of cases, or a case.

  tally plugin test basket_size --update")]
pub(crate) struct Test {
    /// The crate, the folder of cases, or the case
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The plugin file [default: what `cargo build --release` made of the crate]
    #[arg(long, value_name = "FILE.so")]
    pub(crate) file: Option<PathBuf>,
    /// Write the present answers as the expected ones
    #[arg(long)]
    pub(crate) update: bool,
    /// How long a case may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
