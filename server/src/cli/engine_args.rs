//! The arguments of the commands that are about engines as such: which one is asked, what it
//! answers, and what it does now.

use super::args::Engine;
use crate::catalogue::id;
use crate::http::{EVENT_TYPE, LONGEST_PACE_MS, is_event_type};
use clap::{Args as Group, Subcommand, ValueEnum};
use serde_json::Value;
use std::time::Duration;
use tally_engine::config::duration;
use tally_engine::event::Position;
use tally_plugin::read::Id;

#[derive(Group, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
A context is a name for an engine's address, in $XDG_CONFIG_HOME/tally/contexts.toml (else ~/.config/tally/contexts.toml).
Commands ask the engine of --url, else of TALLY_URL, else of the context that TALLY_CONTEXT names or that is in use, else
the one that ./metrics.toml configures.

  tally context set shop http://127.0.0.1:9090
  tally context use shop"
)]
pub(crate) struct ContextArgs {
    #[command(subcommand)]
    pub(crate) command: ContextCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ContextCommand {
    /// The contexts, and which one is in use
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Use a context from now on
    Use {
        /// The context
        name: String,
    },
    /// Add a context, or give another address to one; the first one is in use at once
    Set {
        /// The context
        name: String,
        /// The engine's address
        url: String,
    },
    /// Remove a context
    Remove {
        /// The context
        name: String,
    },
}

#[derive(Group, Debug)]
#[command(after_help = "\
With --watch the answer is shown again whenever it changes: on a terminal in place, elsewhere one result a line, with the window
and the warnings on stderr when they change. A lost connection is made again. What is refused ends it as without --watch; while
there is only no answer now, it waits for one.

  tally query products_popularity '{\"limit\":5,\"window\":\"24h\"}'
  tally query products_popularity --expand names
  tally query event_frequencies '{\"window\":\"1h\"}' --watch
  tally query event_frequencies --watch --interval 1s | jq .total")]
pub(crate) struct Query {
    /// The metric; `tally plugin list` names them
    pub(crate) name: String,
    /// Its params, a JSON object
    #[arg(value_name = "PARAMS-JSON", default_value = "{}", value_parser = params)]
    pub(crate) params: Value,
    /// Show the answer again whenever it changes, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
    /// The least time between two of them (100ms, 2s, 1m); an engine grants no less than its [live]
    /// min_interval_ms, and then it is said [default: 250ms]
    #[arg(long, value_name = "TIME", requires = "watch", value_parser = interval)]
    pub(crate) interval: Option<Duration>,
    /// Add to the answer what the catalogue knows of its ids
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) expand: Option<Expand>,
    /// End after so many of them
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Print the whole answer on one line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What an answer may have beside ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expand {
    /// Names of users and products
    Names,
}

#[derive(Group, Debug)]
#[command(after_help = "\
POSITION is the next offset to read, END the offset after the last one that can be read, LAG what is between them, OPEN what
waits behind a transaction. END is as of the last time that the engine asked its log, some seconds ago at most.
Exit code: 0 whatever the lag is; 1 if the engine does not answer, or does not know its partitions yet.")]
pub(crate) struct Lag {
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(after_help = "\
Keys: q ends, s sorts the metrics by another column, arrows select one. Needs a terminal; for programs there are
`tally lag --json` and GET /api/status.")]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) engine: Engine,
}

#[derive(Group, Debug)]
#[command(after_help = "\
Events are printed as they were written, one a line; on stderr is what was missed, and at the end the position from which
--since goes on. A lost connection is made again, and goes on from the last event.

  tally tap --type buy --limit 10
  tally tap --user 7 | jq .product_id")]
pub(crate) struct Tap {
    /// Only events of this type; several are separated by commas
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = event_type)]
    pub(crate) types: Vec<String>,
    /// Only events of this user
    #[arg(long, value_name = "ID", value_parser = id::parse)]
    pub(crate) user: Option<Id>,
    /// Only events of this product
    #[arg(long, value_name = "ID", value_parser = id::parse)]
    pub(crate) product: Option<Id>,
    /// Begin at this position, as an answer or an earlier run states it [default: now]
    #[arg(long, value_name = "POSITION")]
    pub(crate) since: Option<Position>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) engine: Engine,
    /// Print each message whole: position and cursor beside the event
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(after_help = "\
An assistant starts this itself: each line of its stdin is a message, each line of its stdout an answer of the engine (POST
/mcp), and stderr says what goes wrong. Up to 8 requests are under way at once. It ends with its input. In the settings of
the assistant:

  {\"mcpServers\": {\"tally\": {\"command\": \"tally\", \"args\": [\"mcp\", \"--url\", \"http://127.0.0.1:8080\"]}}}")]
pub(crate) struct Mcp {
    #[command(flatten)]
    pub(crate) engine: Engine,
}

fn params(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(params @ Value::Object(_)) => Ok(params),
        Ok(_) => Err("params are a JSON object: '{\"limit\":5}'".into()),
        Err(error) => {
            Err(format!("not JSON: {error}; put single quotes around it: '{{\"limit\":5}}'"))
        }
    }
}

fn event_type(text: &str) -> Result<String, &'static str> {
    if is_event_type(text) { Ok(text.to_owned()) } else { Err(EVENT_TYPE) }
}

/// A time between two answers: as other times, or in milliseconds.
fn interval(text: &str) -> Result<Duration, &'static str> {
    let digits = text.strip_suffix("ms");
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let interval = match digits {
        Some(digits) => digits.parse().ok().map(Duration::from_millis),
        None => duration::parse(text).ok(),
    };
    let longest = Duration::from_millis(LONGEST_PACE_MS);
    interval
        .filter(|interval| !interval.is_zero() && *interval <= longest)
        .ok_or("write a time of at most 24h, such as 250ms, 2s or 1m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_times_or_milliseconds_of_at_most_a_day() {
        let read = |text: &str| interval(text).ok().map(|interval| interval.as_millis());
        for (text, expected) in [
            ("250ms", Some(250)),
            ("2s", Some(2_000)),
            ("24h", Some(86_400_000)),
            ("86400001ms", None),
            ("2d", None),
            ("0ms", None),
            ("ms", None),
            ("-1ms", None),
            ("1.5s", None),
            ("250", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
