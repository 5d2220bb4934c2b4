//! The catalogue in PostgreSQL, for several engines.
//!
//! It may be away: then every call is refused at once with the reason, and a task that looks after
//! it finds out when it is back; migrations that wait are applied then. Calls take a connection of
//! a pool; more than `READS` or `WRITES` at once are refused. A connection whose answer nobody
//! waited for is closed, never lent again. It never retries a write: an import may be run again.

mod channel_binding;
mod connect;
mod schema;
mod sql;
mod tls;

pub use connect::Settings;

use super::migrations;
use super::{
    Catalogue, CatalogueError, CatalogueFuture, Names, Page, Product, Upserted, User, Wanted,
};
use deadpool_postgres::{Client, Object, Pool};
use parking_lot::Mutex;
use sql::{Fault, Stored};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tally_plugin::read::Id;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Lookups and listings at once; what has no connection yet waits for one.
const READS: usize = 64;

/// Writes at once; they wait for each other.
const WRITES: usize = 4;

/// How long a read may take, the server's own limit of a second and the way there included.
const READ: Duration = Duration::from_secs(2);

/// The same for a write of some thousand rows, of which each statement may take 30 s.
const WRITE: Duration = Duration::from_secs(90);

/// Between two looks while it is away: about as long as its return takes to be noticed.
const LOOK_AWAY: Duration = Duration::from_secs(1);

/// Between two looks while it answers; a call that fails is looked into at once.
const LOOK_THERE: Duration = Duration::from_secs(5);

/// A catalogue in PostgreSQL. Dropping it ends the task that looks after it.
pub struct Postgres {
    shared: Arc<Shared>,
    tending: JoinHandle<()>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.tending.abort();
    }
}

struct Shared {
    settings: Settings,
    /// Whether pending migrations are applied or only named.
    migrate: bool,
    pool: Pool,
    /// Why it does not answer; none while it does.
    away: Mutex<Option<String>>,
    doubt: Notify,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Postgres {
    /// Connects and brings the schema up to date; with `migrate` false it only looks whether it is.
    /// Where PostgreSQL does not answer now, it is opened all the same and looked after until it
    /// does.
    ///
    /// # Errors
    /// [`CatalogueError::Refused`]: what waiting does not mend, with what to do.
    pub async fn open(settings: Settings, migrate: bool) -> Result<Postgres, CatalogueError> {
        let places = |places| Arc::new(Semaphore::new(places));
        let shared = Arc::new(Shared {
            pool: settings.pool()?,
            settings,
            migrate,
            away: Mutex::default(),
            doubt: Notify::new(),
            reads: places(READS),
            writes: places(WRITES),
        });
        match shared.prepare().await {
            Ok(()) => {}
            Err(CatalogueError::Unavailable(reason)) => {
                tracing::warn!(
                    reason,
                    "the catalogue is unavailable; metrics continue without names until it is back"
                );
                *shared.away.lock() = Some(reason);
            }
            Err(refused) => return Err(refused),
        }
        let tending = tokio::spawn(Arc::clone(&shared).tend());
        Ok(Postgres { shared, tending })
    }

    /// Brings the schema up to date; what was applied.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn migrate(settings: &Settings) -> Result<Vec<String>, CatalogueError> {
        let applied = schema::apply(settings, &migrations::all()).await?;
        Ok(applied.iter().map(ToString::to_string).collect())
    }

    /// What [`Postgres::migrate`] would apply. Changes nothing.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn pending(settings: &Settings) -> Result<Vec<String>, CatalogueError> {
        let pending = schema::pending(settings, &migrations::all()).await?;
        Ok(pending.iter().map(ToString::to_string).collect())
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(
            &'c Client,
        )
            -> Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'c>>
        + Send
        + 'static,
    ) -> CatalogueFuture<'_, T> {
        Box::pin(async move {
            let _place = self.shared.reads.try_acquire().map_err(|_| CatalogueError::Overloaded)?;
            let lent = self.shared.lend().await?;
            let done = match &lent.client {
                Some(client) => timeout(READ, work(client)).await,
                None => return Err(self.shared.settings.silent()),
            };
            lent.give_back(done)
        })
    }

    fn upsert<T: Stored>(&self, rows: Vec<T>) -> CatalogueFuture<'_, Upserted> {
        Box::pin(async move {
            let _place =
                self.shared.writes.try_acquire().map_err(|_| CatalogueError::Overloaded)?;
            let mut lent = self.shared.lend().await?;
            let done = match &mut lent.client {
                Some(client) => timeout(WRITE, sql::upsert(client, rows)).await,
                None => return Err(self.shared.settings.silent()),
            };
            lent.give_back(done)
        })
    }
}

impl Catalogue for Postgres {
    fn users(&self, page: Page) -> CatalogueFuture<'_, Vec<User>> {
        self.read(|client| Box::pin(sql::list(client, page)))
    }

    fn user(&self, id: Id) -> CatalogueFuture<'_, Option<User>> {
        self.read(|client| Box::pin(sql::find(client, id)))
    }

    fn products(&self, page: Page) -> CatalogueFuture<'_, Vec<Product>> {
        self.read(|client| Box::pin(sql::list(client, page)))
    }

    fn product(&self, id: Id) -> CatalogueFuture<'_, Option<Product>> {
        self.read(|client| Box::pin(sql::find(client, id)))
    }

    fn names(&self, wanted: Wanted) -> CatalogueFuture<'_, Names> {
        self.read(|client| Box::pin(sql::names(client, wanted)))
    }

    fn upsert_users(&self, rows: Vec<User>) -> CatalogueFuture<'_, Upserted> {
        self.upsert(rows)
    }

    fn upsert_products(&self, rows: Vec<Product>) -> CatalogueFuture<'_, Upserted> {
        self.upsert(rows)
    }

    fn health_error(&self) -> Option<String> {
        if self.tending.is_finished() {
            return Some(
                "the task that watches the connections ended by an internal error: restart the \
                 engine"
                    .to_owned(),
            );
        }
        self.shared.away.lock().clone()
    }
}

impl Shared {
    /// A look at the schema; with `migrate`, it is brought up to date.
    async fn prepare(&self) -> Result<(), CatalogueError> {
        let ours = migrations::all();
        if self.migrate {
            for applied in schema::apply(&self.settings, &ours).await? {
                tracing::info!(migration = %applied, "applied to PostgreSQL at {}", self.settings.place());
            }
            return Ok(());
        }
        let pending = schema::pending(&self.settings, &ours).await?;
        if pending.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = pending.iter().map(ToString::to_string).collect();
        Err(CatalogueError::Refused(format!(
            "PostgreSQL at {}: not applied yet: {}; run `tally migrate`, or set \
             catalogue.migrate = true",
            self.settings.place(),
            names.join(", ")
        )))
    }

    /// Finds out when it goes and when it is back.
    async fn tend(self: Arc<Shared>) {
        loop {
            let away = self.away.lock().is_some();
            // A doubt while it is known to be away is none: everybody is refused already.
            if away {
                tokio::time::sleep(LOOK_AWAY).await;
            } else {
                drop(timeout(LOOK_THERE, self.doubt.notified()).await);
            }
            let looked = if away || self.away.lock().is_some() {
                self.prepare().await
            } else {
                self.ping().await
            };
            let place = self.settings.place();
            let mut away = self.away.lock();
            match looked {
                // As many calls as it takes on: it lives.
                Ok(()) | Err(CatalogueError::Overloaded) => {
                    if away.take().is_some() {
                        tracing::info!("the catalogue is back: PostgreSQL at {place}");
                    }
                }
                Err(CatalogueError::Unavailable(reason) | CatalogueError::Refused(reason)) => {
                    // A doubt that a call had is told here for the first time; the same again is
                    // not told again.
                    if away.as_ref() != Some(&reason) {
                        tracing::warn!(
                            reason,
                            "the catalogue is unavailable; metrics continue without names until it \
                             is back"
                        );
                    }
                    *away = Some(reason);
                }
            }
        }
    }

    async fn ping(&self) -> Result<(), CatalogueError> {
        let client = self.pool.get().await.map_err(|error| self.settings.pool_fault(error))?;
        match timeout(READ, client.simple_query("SELECT 1")).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.settings.fault(&error)),
            Err(_) => {
                drop(Object::take(client));
                Err(self.settings.silent())
            }
        }
    }

    async fn lend(&self) -> Result<Lent<'_>, CatalogueError> {
        if let Some(reason) = self.away.lock().clone() {
            return Err(CatalogueError::Unavailable(reason));
        }
        match self.pool.get().await {
            Ok(client) => Ok(Lent { shared: self, client: Some(client) }),
            Err(error) => {
                let fault = self.settings.pool_fault(error);
                if !matches!(fault, CatalogueError::Overloaded) {
                    self.doubt.notify_one();
                }
                Err(fault)
            }
        }
    }
}

/// A connection in use.
struct Lent<'s> {
    shared: &'s Shared,
    client: Option<Client>,
}

impl Lent<'_> {
    /// Back to the pool with it, if the call has come to its end.
    fn give_back<T>(
        mut self,
        done: Result<Result<T, Fault>, tokio::time::error::Elapsed>,
    ) -> Result<T, CatalogueError> {
        let settings = &self.shared.settings;
        match done {
            Ok(Ok(done)) => {
                drop(self.client.take());
                Ok(done)
            }
            Ok(Err(Fault::Row(reason))) => {
                drop(self.client.take());
                Err(CatalogueError::Unavailable(format!(
                    "PostgreSQL at {}: {reason}",
                    settings.place()
                )))
            }
            Ok(Err(Fault::Database(error))) => Err(settings.fault(&error)),
            Err(_) => Err(settings.silent()),
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // It failed, or whoever asked is gone: what it is doing is not known.
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
            self.shared.doubt.notify_one();
        }
    }
}
