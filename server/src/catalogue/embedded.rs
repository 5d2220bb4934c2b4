//! The catalogue in an SQLite file of the data directory.
//!
//! Every call runs on a blocking thread: readers share one connection, writers another (write-ahead
//! log, so an import never blocks a lookup for longer than a page flip). Calls wait for each other;
//! more than `READS` or `WRITES` at once are refused, and a call keeps its place until its thread
//! is done, also when nobody waits for it any more. The file is its owner's alone: it holds e-mail
//! addresses. The schema is that of `migrations/`, applied when it is opened.

use super::migrations::{self, APPLIED, Applied, HISTORY};
use super::rows::{self, number};
use super::{
    Catalogue, CatalogueError, CatalogueFuture, Cost, Names, Page, Product, Upserted, User, Wanted,
    id,
};
use parking_lot::Mutex;
use refinery_core::Migration;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params_from_iter};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tally_plugin::read::Id;
use tokio::sync::Semaphore;

/// How long a connection waits for another process's lock.
const BUSY: Duration = Duration::from_secs(2);

/// Lookups and listings at once: one at a time is read, the rest wait on their threads, for some
/// milliseconds.
const READS: usize = 64;

/// Writes at once, likewise.
const WRITES: usize = 4;

/// An open catalogue file. Clones share it.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Embedded {
    /// Opens or creates the file and brings its schema up to date. Blocks.
    ///
    /// # Errors
    /// [`CatalogueError::Refused`] says why the file cannot be used,
    /// [`CatalogueError::Unavailable`] that it is locked or cannot be read now.
    pub fn open(file: &Path) -> Result<Embedded, CatalogueError> {
        Embedded::open_with(file, &migrations::all()).map(|(opened, _)| opened)
    }

    /// Brings the schema of a file up to date, creating it if it does not exist; what was applied.
    /// Blocks.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn migrate(file: &Path) -> Result<Vec<String>, CatalogueError> {
        Embedded::open_with(file, &migrations::all()).map(|(_, applied)| applied)
    }

    /// What [`Embedded::migrate`] would apply. Changes nothing. Blocks.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn pending(file: &Path) -> Result<Vec<String>, CatalogueError> {
        let ours = migrations::all();
        let pending = if file.exists() {
            let cannot = |error: rusqlite::Error| unavailable(file, &error);
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(file, flags).map_err(cannot)?;
            connection.busy_timeout(BUSY).map_err(cannot)?;
            pending(file, &connection, &ours)?
        } else {
            ours
        };
        Ok(pending.iter().map(ToString::to_string).collect())
    }

    fn open_with(
        file: &Path,
        ours: &[Migration],
    ) -> Result<(Embedded, Vec<String>), CatalogueError> {
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(file)?;
            connection.busy_timeout(BUSY)?;
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                 PRAGMA trusted_schema = OFF;",
            )?;
            Ok(connection)
        };
        let cannot = |error: rusqlite::Error| unavailable(file, &error);
        // SQLite gives the files beside it the same mode. A file that is there keeps the mode its
        // owner gave it.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(file)
            .map_err(|error| unavailable(file, &error))?;
        let mut writer = connect().map_err(cannot)?;
        let mut applied = Vec::new();
        // Two that start at once: the later one finds them applied, or fails at the first and is
        // started again.
        if !pending(file, &writer, ours)?.is_empty() {
            let report = migrations::runner(ours)
                .run(&mut writer)
                .map_err(|error| unavailable(file, &error))?;
            applied.extend(report.applied_migrations().iter().map(ToString::to_string));
        }
        let reader = connect().map_err(cannot)?;
        let places = |places| Arc::new(Semaphore::new(places));
        let shared = Shared {
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            reads: places(READS),
            writes: places(WRITES),
        };
        Ok((Embedded { shared: Arc::new(shared) }, applied))
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> CatalogueFuture<'_, T> {
        let shared = Arc::clone(&self.shared);
        later(Arc::clone(&self.shared.reads), move || work(&shared.reader.lock()))
    }

    fn upsert<T: Stored>(&self, rows: Vec<T>) -> CatalogueFuture<'_, Upserted> {
        let shared = Arc::clone(&self.shared);
        later(Arc::clone(&self.shared.writes), move || {
            let mut connection = shared.writer.lock();
            let transaction = connection.transaction()?;
            let done = upsert(&transaction, &rows)?;
            transaction.commit()?;
            Ok(done)
        })
    }
}

impl Catalogue for Embedded {
    fn users(&self, page: Page) -> CatalogueFuture<'_, Vec<User>> {
        self.read(move |connection| list(connection, &page))
    }

    fn user(&self, id: Id) -> CatalogueFuture<'_, Option<User>> {
        self.read(move |connection| find(connection, &id))
    }

    fn products(&self, page: Page) -> CatalogueFuture<'_, Vec<Product>> {
        self.read(move |connection| list(connection, &page))
    }

    fn product(&self, id: Id) -> CatalogueFuture<'_, Option<Product>> {
        self.read(move |connection| find(connection, &id))
    }

    fn names(&self, wanted: Wanted) -> CatalogueFuture<'_, Names> {
        self.read(move |connection| {
            Ok(Names {
                users: names::<User>(connection, wanted.users)?,
                products: names::<Product>(connection, wanted.products)?,
            })
        })
    }

    fn upsert_users(&self, rows: Vec<User>) -> CatalogueFuture<'_, Upserted> {
        self.upsert(rows)
    }

    fn upsert_products(&self, rows: Vec<Product>) -> CatalogueFuture<'_, Upserted> {
        self.upsert(rows)
    }
}

/// A row, as SQLite reads and writes it.
trait Stored: rows::Stored {
    fn more(&self) -> Sql;
    fn of(row: &Row<'_>) -> rusqlite::Result<Self>;
}

impl Stored for User {
    fn more(&self) -> Sql {
        self.email.clone().map_or(Sql::Null, Sql::Text)
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<User> {
        Ok(User { user_id: stored_id(row)?, user_name: row.get(1)?, email: row.get(2)? })
    }
}

impl Stored for Product {
    fn more(&self) -> Sql {
        Sql::Integer(self.cost.cents())
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Product> {
        let cents = row.get(2)?;
        let cost =
            Cost::from_cents(cents).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, cents))?;
        Ok(Product { product_id: stored_id(row)?, product_name: row.get(1)?, cost })
    }
}

fn list<T: Stored>(connection: &Connection, page: &Page) -> rusqlite::Result<Vec<T>> {
    let Select { id, table, columns } = Select::of::<T>();
    // A row value compares like the index is ordered, so each page is one seek.
    let after = if page.after.is_some() {
        format!("WHERE (id_number, {id}) > (?2, ?3)")
    } else {
        String::new()
    };
    let mut values = vec![Sql::Integer(i64::try_from(page.limit).unwrap_or(i64::MAX))];
    values.extend(
        page.after
            .iter()
            .flat_map(|after| [Sql::Integer(number(after)), Sql::Text(id::text(after))]),
    );
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {columns} FROM {table} {after} ORDER BY id_number, {id} LIMIT ?1"
    ))?;
    statement.query_map(params_from_iter(values), T::of)?.collect()
}

fn find<T: Stored>(connection: &Connection, wanted: &Id) -> rusqlite::Result<Option<T>> {
    let Select { id, table, columns } = Select::of::<T>();
    let mut statement =
        connection.prepare_cached(&format!("SELECT {columns} FROM {table} WHERE {id} = ?1"))?;
    statement.query_row([id::text(wanted)], T::of).optional()
}

fn names<T: Stored>(
    connection: &Connection,
    wanted: Vec<Id>,
) -> rusqlite::Result<HashMap<Id, String>> {
    let (id, table, name) = (T::ID, T::TABLE, T::NAME);
    let mut statement =
        connection.prepare_cached(&format!("SELECT {name} FROM {table} WHERE {id} = ?1"))?;
    let mut found = HashMap::with_capacity(wanted.len());
    for wanted in wanted {
        let name = statement.query_row([id::text(&wanted)], |row| row.get(0)).optional()?;
        found.extend(name.map(|name| (wanted, name)));
    }
    Ok(found)
}

fn upsert<T: Stored>(transaction: &Transaction<'_>, rows: &[T]) -> rusqlite::Result<Upserted> {
    let (table, id, name, more) = (T::TABLE, T::ID, T::NAME, T::MORE);
    let mut find = transaction
        .prepare_cached(&format!("SELECT {name}, {more} FROM {table} WHERE {id} = ?1"))?;
    let mut write = transaction.prepare_cached(&format!(
        "INSERT INTO {table} ({id}, id_number, {name}, {more}) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT ({id}) DO UPDATE SET id_number = excluded.id_number, {name} = excluded.{name}, {more} = excluded.{more}"
    ))?;
    let mut done = Upserted::default();
    for row in rows {
        let key = id::text(row.id());
        let before: Option<(String, Sql)> =
            find.query_row([&key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match before {
            Some((name, more)) if name == row.name() && more == row.more() => {
                done.unchanged += 1;
                continue;
            }
            Some(_) => done.updated += 1,
            None => done.inserted += 1,
        }
        write.execute((&key, number(row.id()), row.name(), row.more()))?;
    }
    Ok(done)
}

struct Select {
    id: &'static str,
    table: &'static str,
    columns: String,
}

impl Select {
    fn of<T: Stored>() -> Select {
        Select {
            id: T::ID,
            table: T::TABLE,
            columns: format!("{}, {}, {}", T::ID, T::NAME, T::MORE),
        }
    }
}

fn stored_id(row: &Row<'_>) -> rusqlite::Result<Id> {
    let text: String = row.get(0)?;
    id::parse(&text).map_err(|fault| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(fault))
    })
}

fn later<T: Send + 'static>(
    places: Arc<Semaphore>,
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> CatalogueFuture<'static, T> {
    Box::pin(async {
        let place = places.try_acquire_owned().map_err(|_| CatalogueError::Overloaded)?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(CatalogueError::Unavailable(error.to_string())),
            Err(error) => Err(CatalogueError::Unavailable(format!("the call failed: {error}"))),
        }
    })
}

/// What the file lacks of `ours`.
fn pending(
    file: &Path,
    connection: &Connection,
    ours: &[Migration],
) -> Result<Vec<Migration>, CatalogueError> {
    let applied = || -> rusqlite::Result<Vec<Applied>> {
        if !connection.table_exists(None, HISTORY)? {
            return Ok(Vec::new());
        }
        let of = |row: &Row<'_>| {
            Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum: row.get(2)? })
        };
        connection.prepare(APPLIED)?.query_map([], of)?.collect()
    };
    let applied = applied().map_err(|error| unavailable(file, &error))?;
    let refused = |reason| CatalogueError::Refused(format!("{}: {reason}", file.display()));
    migrations::pending(ours, &applied).map_err(refused)
}

fn unavailable(file: &Path, error: &dyn std::error::Error) -> CatalogueError {
    CatalogueError::Unavailable(format!("{}: {error}", file.display()))
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
