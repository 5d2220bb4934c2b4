//! `tally context`: the names that a user gives to engines. Asks none of them.

use super::Failure;
use super::client::Client;
use super::context_file::{ContextError, Contexts};
use super::engine_args::{ContextArgs, ContextCommand};
use super::output::{data, note, tame};
use super::query::lines;
use super::target::variable;
use comfy_table::{Table, presets};
use serde_json::json;

pub(crate) fn run(args: &ContextArgs) -> Result<(), Failure> {
    let mut contexts = Contexts::read(&variable)?;
    match &args.command {
        ContextCommand::List { json } => return list(&contexts, *json),
        ContextCommand::Use { name } => {
            contexts.choose(name)?;
            note(&format!("{} is in use", tame(name)));
        }
        ContextCommand::Set { name, url } => {
            Client::new(url).map_err(Failure::Usage)?;
            if contexts.set(name, url)? {
                note(&format!("{} is in use: it is the first", tame(name)));
            }
        }
        ContextCommand::Remove { name } => {
            if contexts.remove(name)? {
                note(&format!("{} was in use; no context is now", tame(name)));
            }
        }
    }
    Ok(contexts.write()?)
}

/// The contexts; the one that commands take is marked.
fn list(contexts: &Contexts, json: bool) -> Result<(), Failure> {
    let wanted = variable("TALLY_CONTEXT");
    let current = wanted.as_deref().or(contexts.current());
    if let Some(name) = &wanted {
        // Every other command would refuse it.
        contexts.url(name)?;
    }
    let is_current = |name: &str| current == Some(name);
    if json {
        let all: Vec<_> = contexts
            .all()
            .map(|(name, url)| json!({"name": name, "url": url, "current": is_current(name)}))
            .collect();
        data(&json!({ "contexts": all }).to_string());
        return Ok(());
    }
    if contexts.all().next().is_none() {
        note("there are no contexts; `tally context set NAME URL` adds one");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "CONTEXT", "URL"]);
    for (name, url) in contexts.all() {
        let mark = if is_current(name) { "*" } else { "" };
        table.add_row([mark, &tame(name), &tame(url)]);
    }
    data(&lines(&table));
    Ok(())
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Failure {
        match error {
            ContextError::BadName(_) => Failure::Usage(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }
}
