//! Work of requests on blocking threads, which may take its time where async threads may not.
//!
//! Whoever asked may give up: the work goes on, and what it holds is given back when its thread is
//! free. Work that panics is answered 500. Work on the log, the state or a folder has a few slots
//! for all of it; other work is bounded by who starts it.

use super::App;
use super::codes::Code;
use super::problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;
use tokio::time::timeout;

/// Does work.
///
/// # Errors
/// 500 `internal_error`: it panicked.
pub(super) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|failed| panic_problem(&failed))
}

/// Does work that is waited for at most so long. `None`: it continues in the background.
///
/// # Errors
/// 500 `internal_error`: it panicked.
pub(super) async fn run_within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Problem> {
    timeout(limit, run(work)).await.ok().transpose()
}

/// Work that gives something back at its end, also if it panics.
pub(super) fn holding<P: Send + 'static, T: Send + 'static>(
    place: P,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl FnOnce() -> T + Send + 'static {
    move || {
        let done = work();
        drop(place);
        done
    }
}

/// Does work on the log, the state or a folder, however long it takes.
///
/// # Errors
/// 503 `overloaded`: there is no slot for it. 500 `internal_error`: it panicked.
pub(super) async fn in_slot<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    run(holding(acquire_slot(app).await?, work)).await
}

/// The same, waited for as long as the log may take to acknowledge.
///
/// # Errors
/// 503 `overloaded`: there is no slot for it. 500 `internal_error`: it panicked. 504
/// `deadline_exceeded`: it continues in the background.
pub(super) async fn in_slot_within<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let (limit, place) = (app.limits.append, acquire_slot(app).await?);
    run_within(limit, holding(place, work)).await?.ok_or_else(|| {
        let detail = format!("it takes longer than {limit:?} and continues in the background");
        Problem::new(Code::DeadlineExceeded, detail)
    })
}

/// Waits for a slot as long as a question may.
async fn acquire_slot(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let slot = timeout(app.limits.place, Arc::clone(&app.audits).acquire_owned()).await;
    slot.ok().and_then(Result::ok).ok_or_else(overloaded)
}

/// There is no slot.
pub(super) fn overloaded() -> Problem {
    Problem::overloaded("too many requests read log or state at once")
}

fn panic_problem(failed: &JoinError) -> Problem {
    tracing::error!(%failed, "work for a request panicked");
    Problem::internal()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn what_work_holds_is_given_back_at_its_end_and_by_a_panic() {
        let places = Arc::new(Semaphore::new(1));
        let place = || Arc::clone(&places).try_acquire_owned().unwrap();
        assert_eq!(run(holding(place(), || 7)).await.unwrap(), 7);
        let panics = || -> u8 { panic!("on demand") };
        let refused = run(holding(place(), panics)).await.unwrap_err();
        assert_eq!(refused.code(), "internal_error");
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_work_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (go_on, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let work = holding(place, move || wait.recv().is_ok());
        assert_eq!(run_within(Duration::from_millis(1), work).await.unwrap(), None);
        assert_eq!(places.available_permits(), 0);
        go_on.send(()).unwrap();
        drop(places.acquire().await.unwrap());
    }
}
