//! The catalogue in an SQLite file of the data directory.
//!
//! Every call runs on a blocking thread: readers share one connection, writers another (write-ahead log, so an import
//! never blocks a lookup for longer than a page flip). Calls wait for each other; more than `READS` or `WRITES` at
//! once are refused, and a call keeps its place until its thread is done, also when nobody waits for it any more. The
//! file is its owner's alone: it holds e-mail addresses. The schema is that of `migrations/`, applied when it is opened.

use super::{Catalogue, CatalogueError, Cost, Later, Names, Page, Product, Upserted, User, Wanted, id};
use parking_lot::Mutex;
use refinery::Runner;
use refinery::error::Kind;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params_from_iter};
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

/// Lookups and listings at once: one at a time is read, the rest wait on their threads, for some milliseconds.
const READS: usize = 64;

/// Writes at once, likewise.
const WRITES: usize = 4;

mod schema {
    refinery::embed_migrations!("../migrations");
}

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
    /// [`CatalogueError::Refused`] says why the file cannot be used, [`CatalogueError::Unavailable`] that it is locked
    /// or cannot be read now.
    pub fn open(file: &Path) -> Result<Embedded, CatalogueError> {
        Embedded::open_with(file, &mut schema::migrations::runner())
    }

    fn open_with(file: &Path, migrations: &mut Runner) -> Result<Embedded, CatalogueError> {
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(file)?;
            connection.busy_timeout(BUSY)?;
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;",
            )?;
            Ok(connection)
        };
        let cannot = |error: rusqlite::Error| CatalogueError::Unavailable(format!("{}: {error}", file.display()));
        // SQLite gives the files beside it the same mode. A file that is there keeps the mode its owner gave it.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(file)
            .map_err(|error| CatalogueError::Unavailable(format!("{}: {error}", file.display())))?;
        let mut writer = connect().map_err(cannot)?;
        migrations.run(&mut writer).map_err(|error| refused(file, &error))?;
        let reader = connect().map_err(cannot)?;
        let places = |places| Arc::new(Semaphore::new(places));
        Ok(Embedded {
            shared: Arc::new(Shared {
                reader: Mutex::new(reader),
                writer: Mutex::new(writer),
                reads: places(READS),
                writes: places(WRITES),
            }),
        })
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Later<'_, T> {
        let shared = Arc::clone(&self.shared);
        later(Arc::clone(&self.shared.reads), move || work(&shared.reader.lock()))
    }

    fn upsert<T: Stored>(&self, rows: Vec<T>) -> Later<'_, Upserted> {
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
    fn users(&self, page: Page) -> Later<'_, Vec<User>> {
        self.read(move |connection| list(connection, &page))
    }

    fn user(&self, id: Id) -> Later<'_, Option<User>> {
        self.read(move |connection| find(connection, &id))
    }

    fn products(&self, page: Page) -> Later<'_, Vec<Product>> {
        self.read(move |connection| list(connection, &page))
    }

    fn product(&self, id: Id) -> Later<'_, Option<Product>> {
        self.read(move |connection| find(connection, &id))
    }

    fn names(&self, wanted: Wanted) -> Later<'_, Names> {
        self.read(move |connection| {
            Ok(Names {
                users: names::<User>(connection, wanted.users)?,
                products: names::<Product>(connection, wanted.products)?,
            })
        })
    }

    fn upsert_users(&self, rows: Vec<User>) -> Later<'_, Upserted> {
        self.upsert(rows)
    }

    fn upsert_products(&self, rows: Vec<Product>) -> Later<'_, Upserted> {
        self.upsert(rows)
    }
}

/// A row type and its table. The columns are: id, number, name, one more.
trait Stored: Sized + Send + 'static {
    const TABLE: &'static str;
    const ID: &'static str;
    const NAME: &'static str;
    const MORE: &'static str;
    fn id(&self) -> &Id;
    fn name(&self) -> &str;
    fn more(&self) -> Sql;
    fn of(row: &Row<'_>) -> rusqlite::Result<Self>;
}

impl Stored for User {
    const TABLE: &'static str = "users";
    const ID: &'static str = "user_id";
    const NAME: &'static str = "user_name";
    const MORE: &'static str = "email";

    fn id(&self) -> &Id {
        &self.user_id
    }

    fn name(&self) -> &str {
        &self.user_name
    }

    fn more(&self) -> Sql {
        self.email.clone().map_or(Sql::Null, Sql::Text)
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<User> {
        Ok(User { user_id: stored_id(row)?, user_name: row.get(1)?, email: row.get(2)? })
    }
}

impl Stored for Product {
    const TABLE: &'static str = "products";
    const ID: &'static str = "product_id";
    const NAME: &'static str = "product_name";
    const MORE: &'static str = "cost_cents";

    fn id(&self) -> &Id {
        &self.product_id
    }

    fn name(&self) -> &str {
        &self.product_name
    }

    fn more(&self) -> Sql {
        Sql::Integer(self.cost.cents())
    }

    fn of(row: &Row<'_>) -> rusqlite::Result<Product> {
        let cents = row.get(2)?;
        let cost = Cost::from_cents(cents).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, cents))?;
        Ok(Product { product_id: stored_id(row)?, product_name: row.get(1)?, cost })
    }
}

fn list<T: Stored>(connection: &Connection, page: &Page) -> rusqlite::Result<Vec<T>> {
    let Select { id, table, columns } = Select::of::<T>();
    // A row value compares like the index is ordered, so each page is one seek.
    let after = if page.after.is_some() { format!("WHERE (id_number, {id}) > (?2, ?3)") } else { String::new() };
    let mut values = vec![Sql::Integer(i64::try_from(page.limit).unwrap_or(i64::MAX))];
    values.extend(page.after.iter().flat_map(|after| [Sql::Integer(number(after)), Sql::Text(id::text(after))]));
    let mut statement = connection
        .prepare_cached(&format!("SELECT {columns} FROM {table} {after} ORDER BY id_number, {id} LIMIT ?1"))?;
    statement.query_map(params_from_iter(values), T::of)?.collect()
}

fn find<T: Stored>(connection: &Connection, wanted: &Id) -> rusqlite::Result<Option<T>> {
    let Select { id, table, columns } = Select::of::<T>();
    let mut statement = connection.prepare_cached(&format!("SELECT {columns} FROM {table} WHERE {id} = ?1"))?;
    statement.query_row([id::text(wanted)], T::of).optional()
}

fn names<T: Stored>(connection: &Connection, wanted: Vec<Id>) -> rusqlite::Result<HashMap<Id, String>> {
    let (id, table, name) = (T::ID, T::TABLE, T::NAME);
    let mut statement = connection.prepare_cached(&format!("SELECT {name} FROM {table} WHERE {id} = ?1"))?;
    let mut found = HashMap::with_capacity(wanted.len());
    for wanted in wanted {
        let name = statement.query_row([id::text(&wanted)], |row| row.get(0)).optional()?;
        found.extend(name.map(|name| (wanted, name)));
    }
    Ok(found)
}

fn upsert<T: Stored>(transaction: &Transaction<'_>, rows: &[T]) -> rusqlite::Result<Upserted> {
    let (table, id, name, more) = (T::TABLE, T::ID, T::NAME, T::MORE);
    let mut find = transaction.prepare_cached(&format!("SELECT {name}, {more} FROM {table} WHERE {id} = ?1"))?;
    let mut write = transaction.prepare_cached(&format!(
        "INSERT INTO {table} ({id}, id_number, {name}, {more}) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT ({id}) DO UPDATE SET id_number = excluded.id_number, {name} = excluded.{name}, {more} = excluded.{more}"
    ))?;
    let mut done = Upserted::default();
    for row in rows {
        let key = id::text(row.id());
        let before: Option<(String, Sql)> = find.query_row([&key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
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
        Select { id: T::ID, table: T::TABLE, columns: format!("{}, {}, {}", T::ID, T::NAME, T::MORE) }
    }
}

/// The ordering column: texts come after every integer.
fn number(id: &Id) -> i64 {
    match id {
        Id::Integer(number) => i64::try_from(*number).unwrap_or(i64::MAX),
        Id::Text(_) => i64::MAX,
    }
}

fn stored_id(row: &Row<'_>) -> rusqlite::Result<Id> {
    let text: String = row.get(0)?;
    id::parse(&text)
        .map_err(|fault| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(fault)))
}

fn later<T: Send + 'static>(
    places: Arc<Semaphore>,
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Later<'static, T> {
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
            Err(error) => Err(CatalogueError::Unavailable(format!("the call did not end: {error}"))),
        }
    })
}

fn refused(file: &Path, error: &refinery::Error) -> CatalogueError {
    let file = file.display();
    CatalogueError::Refused(match error.kind() {
        Kind::DivergentVersion(applied, ours) => format!(
            "{file}: migration {applied} was applied, but this program's {ours} reads otherwise; an applied migration \
             never changes: use the program that wrote the file, or move the file away and import again"
        ),
        Kind::MissingVersion(applied) => format!(
            "{file}: migration {applied} was applied by a newer program; use that program, or move the file away and import again"
        ),
        _ => return CatalogueError::Unavailable(format!("{file}: {error}")),
    })
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
