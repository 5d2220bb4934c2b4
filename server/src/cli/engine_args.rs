//! The arguments of the commands that are about engines as such: which one is asked, and what it
//! does now.

use super::args::Engine;
use crate::catalogue::id;
use clap::{Args as Group, Subcommand};
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
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
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
