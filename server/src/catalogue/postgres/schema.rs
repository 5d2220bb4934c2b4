//! Bringing PostgreSQL's schema up to date: by one engine at a time, and with nothing written when
//! nothing is missing.
//!
//! The files are those of `migrations/`; all that are missing are applied in one transaction, or
//! none, which also holds the lock and the limits: the connection may lead to a pooler, behind
//! which another transaction has another session. The history is that of refinery, as in the
//! embedded catalogue. A user that may only read is enough once the files are applied.

use super::connect::{Connected, Settings, sentence};
use crate::catalogue::CatalogueError;
use crate::catalogue::migrations::{self, APPLIED, Applied, HISTORY};
use refinery_core::Migration;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Transaction};

/// Held while migrations are applied: the letters "tally".
const LOCK: i64 = 0x74_61_6c_6c_79;

/// How long another engine's migrations are waited for, and how long one statement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The table of applied migrations, as refinery makes it; and the collation that SQLite knows by
/// itself.
const GROUND: &str = "CREATE TABLE IF NOT EXISTS refinery_schema_history(version INT4 PRIMARY KEY, \
                      name VARCHAR(255), applied_on VARCHAR(255), checksum VARCHAR(255)); \
                      CREATE COLLATION IF NOT EXISTS \"BINARY\" FROM \"C\"";

const APPLY: &str = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
                     VALUES ($1, $2, $3, $4)";

/// What the database lacks of `ours`. Changes nothing.
pub(super) async fn pending(
    settings: &Settings,
    ours: &[Migration],
) -> Result<Vec<Migration>, CatalogueError> {
    let Connected { client, .. } = &mut settings.connect().await?;
    let transaction = client.transaction().await.map_err(|error| settings.fault(&error))?;
    begin(settings, &transaction).await?;
    lacking(settings, &transaction, ours).await
}

/// Applies what the database lacks of `ours`; what was applied.
pub(super) async fn apply(
    settings: &Settings,
    ours: &[Migration],
) -> Result<Vec<Migration>, CatalogueError> {
    let Connected { client, .. } = &mut settings.connect().await?;
    let transaction = client.transaction().await.map_err(|error| settings.fault(&error))?;
    begin(settings, &transaction).await?;
    if lacking(settings, &transaction, ours).await?.is_empty() {
        return Ok(Vec::new());
    }
    let fault = |error: Error| not_applied(settings, &error);
    transaction
        .query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
        .await
        .map_err(fault)?;
    // Before the second look, which another may have come before: what was not there a moment ago
    // is remembered as missing until a statement like this one asks for it to be made.
    transaction.batch_execute(GROUND).await.map_err(fault)?;
    let lacking = lacking(settings, &transaction, ours).await?;
    for migration in &lacking {
        transaction.batch_execute(migration.sql().unwrap_or_default()).await.map_err(fault)?;
        let (version, name) = (migration.version(), migration.name());
        let (now, checksum) =
            (jiff::Timestamp::now().to_string(), migration.checksum().to_string());
        let row: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
            (&version, Type::INT4),
            (&name, Type::TEXT),
            (&now, Type::TEXT),
            (&checksum, Type::TEXT),
        ];
        transaction.execute_typed(APPLY, &row).await.map_err(fault)?;
    }
    transaction.commit().await.map_err(fault)?;
    Ok(lacking)
}

/// Limits the transaction, and looks at whether texts can be kept at all.
async fn begin(settings: &Settings, transaction: &Transaction<'_>) -> Result<(), CatalogueError> {
    let fault = |error: Error| settings.fault(&error);
    let limits = format!(
        "SET LOCAL statement_timeout = {}; SET LOCAL client_min_messages = warning",
        PATIENCE.as_millis()
    );
    transaction.batch_execute(&limits).await.map_err(fault)?;
    let encoding: String = transaction
        .query_typed_one(
            "SELECT pg_encoding_to_char(encoding)::text FROM pg_database \
             WHERE datname = current_database()",
            &[],
        )
        .await
        .map_err(fault)?
        .get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(CatalogueError::Refused(format!(
        "PostgreSQL at {}: the database's encoding is {encoding}, which cannot hold every name; \
         make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        settings.place()
    )))
}

async fn lacking(
    settings: &Settings,
    transaction: &Transaction<'_>,
    ours: &[Migration],
) -> Result<Vec<Migration>, CatalogueError> {
    let fault = |error: Error| settings.fault(&error);
    let there = "SELECT to_regclass($1) IS NOT NULL";
    let there =
        transaction.query_typed_one(there, &[(&HISTORY, Type::TEXT)]).await.map_err(fault)?;
    let rows = if there.get(0) {
        transaction.query_typed(APPLIED, &[]).await.map_err(fault)?
    } else {
        Vec::new()
    };
    let applied = rows.iter().map(|row| {
        Ok(Applied { version: row.try_get(0)?, name: row.try_get(1)?, checksum: row.try_get(2)? })
    });
    let applied: Vec<Applied> = applied.collect::<Result<_, Error>>().map_err(fault)?;
    let refused =
        |reason| CatalogueError::Refused(format!("PostgreSQL at {}: {reason}", settings.place()));
    migrations::pending(ours, &applied).map_err(refused)
}

/// Why migrations could not be applied: most often a matter of rights.
fn not_applied(settings: &Settings, error: &Error) -> CatalogueError {
    let (place, told) = (settings.place(), sentence(error));
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            CatalogueError::Refused(format!(
                "PostgreSQL at {place}: {told}; let this user create tables in the schema, or run \
                 `tally migrate` as a user that may and grant this one SELECT, INSERT and UPDATE"
            ))
        }
        Some(code) if *code == SqlState::DUPLICATE_TABLE => CatalogueError::Refused(format!(
            "PostgreSQL at {place}: {told}, and Tally did not create it; give Tally a database of \
             its own"
        )),
        _ => settings.fault(error),
    }
}
