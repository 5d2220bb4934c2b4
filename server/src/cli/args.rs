//! The arguments. The file of a command says what its arguments mean.

use super::engine_args::{ContextArgs, Lag, Mcp, Query, Tap, Top};
use super::plugin::args::Plugin;
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tally_engine::config::duration;

/// Printed by `tally` without arguments.
pub(crate) const SHORT: &str = "\
tally: live metrics from an event log

  tally demo                                         try it out; needs nothing else
  tally run                                          count events, answer at http://127.0.0.1:8080
  tally query event_frequencies '{\"window\":\"1h\"}'    ask a running engine

commands
  demo      run with made-up events        produce   send made-up events or a file
  run       run with metrics.toml          import    names of users and products from a CSV file
  query     evaluate a metric              plugin    list, new, check, test
  verify    recount from the log           migrate   create and update the catalogue's tables
  config    what is configured, and why    dead-letters   records that were refused
  state     what is stored                 context   names for engines
  lag       what is not counted yet        top       a running engine on one screen
  tap       new events, one a line         mcp       for assistants, which start it themselves

tally COMMAND --help shows more.
";

/// Live metrics from an event log.
#[derive(Parser, Debug)]
#[command(name = "tally", version, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run with made-up events; needs nothing else
    Demo(Demo),
    /// Count events and answer questions, configured by metrics.toml
    Run(Run),
    /// Send made-up events, or those of a file, to a running engine or to Kafka
    Produce(Produce),
    /// Evaluate a metric of a running engine
    Query(Query),
    /// List metrics of a running engine; create, check and test plugins
    Plugin(Plugin),
    /// The newest records that could not be events, and why
    DeadLetters(DeadLetters),
    /// Count everything again from the log and compare: exit code 1 on any difference
    Verify(Verify),
    /// Let a partition continue without the record at which it is stopped; /readyz names it
    Skip(Skip),
    /// What the store of a running engine holds
    State(State),
    /// Write users or products from a CSV file into the catalogue
    Import(Import),
    /// Create and update the catalogue's tables for this version
    Migrate(Migrate),
    /// What is configured, and where it comes from
    Config(Config),
    /// Confirm the clock of a running engine
    Clock(ClockArgs),
    /// Names for engines, and which of them is asked
    Context(ContextArgs),
    /// How far each partition is counted, and what is not counted yet
    Lag(Lag),
    /// A full-screen view of a running engine
    Top(Top),
    /// New events of a running engine, one a line
    Tap(Tap),
    /// The Model Context Protocol over stdin and stdout, for assistants
    Mcp(Mcp),
}

#[derive(Group, Debug)]
pub(crate) struct ClockArgs {
    #[command(subcommand)]
    pub(crate) command: ClockCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ClockCommand {
    /// Confirm that the clock is right although it jumped ahead: minutes, hours and records expire
    /// by it at once
    Accept(Engine),
}

#[derive(Group, Debug)]
pub(crate) struct Demo {
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Folder of log, state and catalogue [default: .tally]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Events a second; 0: only those that are posted
    #[arg(long, value_name = "N", default_value = "200", value_parser = rate_or_none)]
    pub(crate) rate: f64,
    /// Same seed, same sequence of events
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Stop by itself after this time (30s, 5m)
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,
    /// Open the page in the browser
    #[arg(long)]
    pub(crate) open: bool,
    /// Do not load this metric; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) disable: Vec<String>,
}

#[derive(Group, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Folder of log, state and catalogue
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Do not load this metric; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) disable: Vec<String>,
}

#[derive(Group, Debug)]
pub(crate) struct ConfigFile {
    /// Configuration [default: ./metrics.toml if there is one]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Group, Debug)]
#[command(after_help = "\
Events go to a running engine, or to Kafka where [source] kind = \"kafka\" or KAFKA_BROKER is set.
Made-up events: with --rate they happen now; with --count alone they are spread over the last hour.
A file's rows without event_id get one from content and line: a second run adds nothing. Times of a file
name their zone (2026-01-01T00:00:00Z, 2026-01-01 00:00:00 UTC) or are Unix milliseconds.

  tally produce --rate 5000 --count 100000 --seed 42
  tally produce --from 2019-Oct.csv --map timestamp=event_time --alias purchase=buy,cart=add_to_cart")]
pub(crate) struct Produce {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Events a second [default: 200, or as fast as possible with --count or --from]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Stop after this many events or rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Same seed, same events with the same ids; without it every run makes new ones
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub(crate) seed: Option<u64>,
    /// Number of the first event: continues where an earlier run of the same seed stopped
    #[arg(long, value_name = "N", requires = "seed", default_value_t = 0)]
    pub(crate) first: u64,
    /// Replay a file: .csv with a header, anything else JSON (lines, or an array)
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Column of each field: user_id=uid,timestamp=event_time
    #[arg(long, value_name = "FIELD=COLUMN", requires = "from", value_delimiter = ',', value_parser = pair)]
    pub(crate) map: Vec<(String, String)>,
    /// Event types to rename: purchase=buy,cart=add_to_cart
    #[arg(long, value_name = "FROM=TO", requires = "from", value_delimiter = ',', value_parser = pair)]
    pub(crate) alias: Vec<(String, String)>,
    /// The engine to send to, even where Kafka is configured [default: as of `tally query`]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Print the closing counts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
pub(crate) struct Engine {
    /// The engine to ask [default: TALLY_URL, else the context in use, else [server] listen of
    /// ./metrics.toml, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Group, Debug)]
#[command(after_help = "\
With --replay, letters whose record the log no longer holds are judged by today's [events], and appended if they are
events now. Each counts once, however often and by whomever it is replayed.

  tally dead-letters --reason missing_field:user_id --limit 5
  tally dead-letters --replay --reason timestamp_too_early")]
pub(crate) struct DeadLetters {
    /// Show this many, newest first; 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) limit: u64,
    /// Only those of one reason
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub(crate) reason: Option<String>,
    /// Judge them again, and append what is an event now and gone from the log
    #[arg(long, conflicts_with = "limit")]
    pub(crate) replay: bool,
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Print the whole answer on one line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(after_help = "\
Log and state are read through the engine; they are judged, deduplicated and counted here, by independent code.
Where the log no longer holds what a metric counted first, what is counted within five seconds is compared instead.
Cells that a plugin feeds itself are named, not checked.

  tally verify
  tally verify event_frequencies --json")]
pub(crate) struct Verify {
    /// The metrics; without any, all
    #[arg(value_name = "NAME", value_parser = metric)]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Print the whole result on one line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(after_help = "\
A partition stops where records are missing from the log, or where one cannot be decoded; `/readyz?verbose` names the
partition and the offset. A skip is recorded in the state as a gap, which answers and `tally verify` report from then on.

Example:

  tally skip 3 1048576")]
pub(crate) struct Skip {
    /// The partition
    pub(crate) partition: u32,
    /// The offset of the record
    pub(crate) offset: u64,
    #[command(flatten)]
    pub(crate) engine: Engine,
}

#[derive(Group, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct State {
    #[command(subcommand)]
    pub(crate) command: StateCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum StateCommand {
    /// Each metric's revision, life and offsets, and its tables in numbers
    Tables {
        #[command(flatten)]
        place: StatePlace,
        /// Print the whole answer on one line
        #[arg(long)]
        json: bool,
    },
    /// The buckets of a table, or of all
    #[command(after_help = "  tally state buckets user_activities/activity")]
    Buckets {
        /// METRIC/TABLE; one of the two is enough if it is unambiguous
        #[arg(value_name = "TABLE", value_parser = table)]
        table: Option<String>,
        #[command(flatten)]
        place: StatePlace,
        /// Print the whole answer on one line
        #[arg(long)]
        json: bool,
    },
    /// The stored cells of a key, pane by pane
    #[command(
        after_help = "  tally state get user_activities u1\n  tally state get event_frequencies purchase --json"
    )]
    Get {
        /// METRIC/TABLE; one of the two is enough if it is unambiguous
        #[arg(value_name = "TABLE", value_parser = table)]
        table: String,
        /// The key's columns in their order, at least those of its group
        #[arg(value_name = "KEY", num_args = 0..=8)]
        key: Vec<String>,
        #[command(flatten)]
        place: StatePlace,
        /// Print the whole answer on one line
        #[arg(long)]
        json: bool,
    },
}

/// Where state is read from.
#[derive(Group, Debug)]
pub(crate) struct StatePlace {
    /// The engine to ask [default: TALLY_URL, else the context in use, else the configured address;
    /// if none answers there, the store itself]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Ask no engine: read the store itself, an embedded one in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Group, Debug)]
#[command(
    after_help = "Columns: user_id,user_name,email or product_id,product_name,cost; the first line \
                  names them."
)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// What the file holds
    pub(crate) what: What,
    /// CSV with a header
    #[arg(id = "csv", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Folder of the catalogue [default: as configured]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print the counts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(
    after_help = "`tally run` and `tally import` do the same when they start, unless [catalogue] \
                  migrate = false."
)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) config: ConfigFile,
    /// Folder of the embedded catalogue [default: as configured]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print what would be applied, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    Users,
    Products,
}

#[derive(Group, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Every value in force and where it comes from; secrets as ***
    Show {
        #[command(flatten)]
        config: ConfigFile,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Report what is wrong with the configuration; exit code 78 if anything is
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
}

fn rate_or_none(text: &str) -> Result<f64, String> {
    let fault = |fault| format!("{fault}, or 0 for none");
    if text.parse() == Ok(0.0) { Ok(0.0) } else { rate(text).map_err(fault) }
}

fn rate(text: &str) -> Result<f64, String> {
    /// No output can keep up with more, and the number per tick would overflow.
    const FASTEST: f64 = 100_000_000.0;
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=FASTEST).contains(&rate) => Ok(rate),
        _ => Err("write events a second, from 0.001 to 100000000".into()),
    }
}

/// Whether a text needs no escapes in an address: at most `longest` letters, of `a-z0-9_` and
/// those in `also`.
fn is_plain(text: &str, longest: usize, also: &[u8]) -> bool {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || also.contains(&byte)
    };
    (1..=longest).contains(&text.len()) && text.bytes().all(plain)
}

fn metric(text: &str) -> Result<String, String> {
    match is_plain(text, 64, b"") {
        true => Ok(text.into()),
        false => Err("write the name of a metric; `tally plugin list` names them".into()),
    }
}

fn table(text: &str) -> Result<String, String> {
    match is_plain(text, 129, b"/") {
        true => Ok(text.into()),
        false => Err("write a table as METRIC/TABLE; `tally state tables` names them".into()),
    }
}

fn reason(text: &str) -> Result<String, String> {
    match is_plain(text, 128, b":") {
        true => Ok(text.into()),
        false => Err("write a reason as it is listed: invalid_json, missing_field:user_id".into()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => {
            Ok((left.into(), right.into()))
        }
        _ => Err(format!("{text:?} is not NAME=NAME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_short_help_is_short_and_begins_with_three_examples() {
        assert!(SHORT.lines().count() <= 20);
        assert!(SHORT.lines().skip(2).take(3).all(|line| line.starts_with("  tally ")));
    }
}
