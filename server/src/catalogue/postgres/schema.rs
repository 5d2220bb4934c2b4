//! Bringing PostgreSQL's schema up to date: by one engine at a time, and with nothing written when nothing is missing.
//!
//! The files are those of `migrations/`. A user that may only read is enough once they are applied.

use super::connect::{Connected, Settings, sentence};
use crate::catalogue::CatalogueError;
use crate::catalogue::migrations::{self, APPLIED, Applied, HISTORY};
use refinery::Migration;
use std::error::Error as _;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

/// Held while migrations are applied: the letters "tally".
const LOCK: i64 = 0x74_61_6c_6c_79;

/// How long another engine's migrations are waited for, and how long one statement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the database lacks of `ours`. Changes nothing.
pub(super) async fn pending(settings: &Settings, ours: &[Migration]) -> Result<Vec<Migration>, CatalogueError> {
    let connected = settings.connect().await?;
    begin(settings, &connected.client).await?;
    lacking(settings, &connected.client, ours).await
}

/// Applies what the database lacks of `ours`; what was applied.
pub(super) async fn apply(settings: &Settings, ours: &[Migration]) -> Result<Vec<Migration>, CatalogueError> {
    let Connected { client, .. } = &mut settings.connect().await?;
    begin(settings, client).await?;
    if lacking(settings, client, ours).await?.is_empty() {
        return Ok(Vec::new());
    }
    let fault = |error: Error| not_applied(settings, &error);
    // Ends with the connection, whatever becomes of this one.
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(fault)?;
    // Another may have applied them meanwhile.
    if lacking(settings, client, ours).await?.is_empty() {
        return Ok(Vec::new());
    }
    // The migrations name the collation that SQLite knows by itself.
    client.batch_execute("CREATE COLLATION IF NOT EXISTS \"BINARY\" FROM \"C\"").await.map_err(fault)?;
    let report = migrations::runner(ours).run_async(client).await.map_err(|error| {
        match error.source().and_then(|cause| cause.downcast_ref::<Error>()) {
            Some(cause) => not_applied(settings, cause),
            None => CatalogueError::Unavailable(format!("PostgreSQL at {}: {error}", settings.place())),
        }
    })?;
    Ok(report.applied_migrations().clone())
}

/// Limits the connection, and looks at whether texts can be kept at all.
async fn begin(settings: &Settings, client: &Client) -> Result<(), CatalogueError> {
    let fault = |error: Error| settings.fault(&error);
    let limits = format!("SET statement_timeout = {}; SET client_min_messages = warning", PATIENCE.as_millis());
    client.batch_execute(&limits).await.map_err(fault)?;
    let encoding: String = client.query_one("SHOW server_encoding", &[]).await.map_err(fault)?.get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(CatalogueError::Refused(format!(
        "PostgreSQL at {}: the database's encoding is {encoding}, which cannot hold every name; make one with \
         CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        settings.place()
    )))
}

async fn lacking(settings: &Settings, client: &Client, ours: &[Migration]) -> Result<Vec<Migration>, CatalogueError> {
    let fault = |error: Error| settings.fault(&error);
    let there = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY]).await.map_err(fault)?;
    let rows = if there.get(0) { client.query(APPLIED, &[]).await.map_err(fault)? } else { Vec::new() };
    let applied = rows
        .iter()
        .map(|row| Ok(Applied { version: row.try_get(0)?, name: row.try_get(1)?, checksum: row.try_get(2)? }));
    let applied: Vec<Applied> = applied.collect::<Result<_, Error>>().map_err(fault)?;
    let refused = |reason| CatalogueError::Refused(format!("PostgreSQL at {}: {reason}", settings.place()));
    migrations::pending(ours, &applied).map_err(refused)
}

/// Why migrations could not be applied: most often a matter of rights.
fn not_applied(settings: &Settings, error: &Error) -> CatalogueError {
    let (place, told) = (settings.place(), sentence(error));
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => CatalogueError::Refused(format!(
            "PostgreSQL at {place}: {told}; let this user create tables in the schema, or run `tally migrate` as one \
             who may and give this one SELECT, INSERT and UPDATE"
        )),
        Some(code) if *code == SqlState::DUPLICATE_TABLE => CatalogueError::Refused(format!(
            "PostgreSQL at {place}: {told}, and Tally did not make it; give Tally a database of its own"
        )),
        _ => settings.fault(error),
    }
}
