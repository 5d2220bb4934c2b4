//! The embedded catalogue of a running engine: if its file cannot be opened, the engine runs
//! without it and tries again.
//!
//! A broken file, a file of a newer program, a full disk, a folder without rights: metrics are
//! counted in spite of all of them. Calls are refused with the reason until the file opens.

use super::embedded::Embedded;
use super::{
    Catalogue, CatalogueError, CatalogueFuture, Names, Page, Product, Upserted, User, Wanted,
};
use parking_lot::RwLock;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tally_plugin::read::Id;
use tokio::task::JoinHandle;

/// The interval between two attempts: the first one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A catalogue file that is open, or will be tried again. Dropping it ends the task that tries.
pub struct Late {
    now: Now,
    tending: Option<JoinHandle<()>>,
}

/// The open file, or why it is not.
type Now = Arc<RwLock<Result<Embedded, String>>>;

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(tending) = &self.tending {
            tending.abort();
        }
    }
}

impl Late {
    /// Opens the file, which is made if it is not there; blocks for that. Where it cannot be
    /// opened, that is said and tried again.
    #[must_use]
    pub fn open(file: PathBuf) -> Late {
        match Embedded::open(&file) {
            Ok(open) => Late { now: Arc::new(RwLock::new(Ok(open))), tending: None },
            Err(fault) => {
                let reason = reason(fault);
                tracing::warn!(
                    reason,
                    "the catalogue cannot be opened; metrics continue without names; retrying"
                );
                let now: Now = Arc::new(RwLock::new(Err(reason)));
                Late { tending: Some(tokio::spawn(tend(file, Arc::clone(&now)))), now }
            }
        }
    }
}

/// Tries until the file opens.
async fn tend(file: PathBuf, now: Now) {
    let mut pause = PAUSE.0;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
        let path = file.clone();
        let opened = tokio::task::spawn_blocking(move || Embedded::open(&path)).await;
        match opened {
            Ok(Ok(open)) => {
                *now.write() = Ok(open);
                return tracing::info!(file = %file.display(), "the catalogue is open");
            }
            Ok(Err(fault)) => *now.write() = Err(reason(fault)),
            Err(failed) => tracing::error!(%failed, "opening the catalogue panicked; retrying"),
        }
    }
}

fn reason(fault: CatalogueError) -> String {
    match fault {
        CatalogueError::Unavailable(reason) | CatalogueError::Refused(reason) => reason,
        CatalogueError::Overloaded => fault.to_string(),
    }
}

/// Hands a call on to the open file.
macro_rules! handed_on {
    ($self:ident, $open:ident => $call:expr) => {{
        let now = $self.now.read().clone();
        Box::pin(async move {
            let $open = now.map_err(CatalogueError::Unavailable)?;
            $call.await
        })
    }};
}

impl Catalogue for Late {
    fn users(&self, page: Page) -> CatalogueFuture<'_, Vec<User>> {
        handed_on!(self, open => open.users(page))
    }

    fn user(&self, id: Id) -> CatalogueFuture<'_, Option<User>> {
        handed_on!(self, open => open.user(id))
    }

    fn products(&self, page: Page) -> CatalogueFuture<'_, Vec<Product>> {
        handed_on!(self, open => open.products(page))
    }

    fn product(&self, id: Id) -> CatalogueFuture<'_, Option<Product>> {
        handed_on!(self, open => open.product(id))
    }

    fn names(&self, wanted: Wanted) -> CatalogueFuture<'_, Names> {
        handed_on!(self, open => open.names(wanted))
    }

    fn upsert_users(&self, rows: Vec<User>) -> CatalogueFuture<'_, Upserted> {
        handed_on!(self, open => open.upsert_users(rows))
    }

    fn upsert_products(&self, rows: Vec<Product>) -> CatalogueFuture<'_, Upserted> {
        handed_on!(self, open => open.upsert_products(rows))
    }

    fn health_error(&self) -> Option<String> {
        self.now.read().as_ref().err().cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use std::fs;

    async fn opens(late: &Late) {
        let there = async {
            while late.health_error().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there).await.expect("it is tried again");
    }

    #[tokio::test]
    async fn what_cannot_be_opened_is_tried_again_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let page = Page { after: None, limit: 1 };
        type Break = fn(&std::path::Path);
        let breaks: [(&str, Break, Break); 3] = [
            (
                "broken",
                |file| {
                    fs::write(file, "garbage, for as long as a page has it".repeat(100)).unwrap()
                },
                |file| {
                    fs::remove_file(file).unwrap();
                },
            ),
            (
                "a folder",
                |file| fs::create_dir(file).unwrap(),
                |file| fs::remove_dir(file).unwrap(),
            ),
            (
                "without its folder",
                |file| fs::remove_dir(file.parent().unwrap()).unwrap(),
                |file| {
                    fs::create_dir(file.parent().unwrap()).unwrap();
                },
            ),
        ];
        for (name, break_it, mend) in breaks {
            let file = folder.path().join(name).join("catalogue.sqlite");
            fs::create_dir(file.parent().unwrap()).unwrap();
            break_it(&file);
            let late = Late::open(file.clone());
            assert!(late.health_error().is_some(), "{name}");
            assert!(
                matches!(late.users(page.clone()).await, Err(CatalogueError::Unavailable(_))),
                "{name}"
            );
            mend(&file);
            opens(&late).await;
            assert_eq!(late.users(page.clone()).await.unwrap(), [], "{name}");
        }
    }
}
