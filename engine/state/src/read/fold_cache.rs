//! Keeps folds for the next equal question, over all tables of a state. The cache is bounded in
//! bytes; losing an entry costs time and changes no answer.

use super::access::ReadContext;
use super::allowance::ReadError;
use super::fold::Fold;
use super::plan::Plan;
use crate::rows::floors::TimeBounds;
use parking_lot::Mutex;

/// Most bytes of all kept folds by default.
const BYTES: u64 = 64 << 20;

/// Folds of the tables of all metrics, of one state or several. If they take more memory than they
/// may, the oldest are dropped first; a fold that takes more than half of it is not kept.
pub struct Folds {
    limit: usize,
    /// Newest last.
    all: Mutex<Vec<Fold>>,
}

impl Default for Folds {
    fn default() -> Folds {
        Folds::new(BYTES)
    }
}

impl Folds {
    /// A cache of at most so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Folds {
        Folds { limit: usize::try_from(limit).unwrap_or(usize::MAX), all: Mutex::default() }
    }

    /// The fold of a plan at this moment: a kept one with what came since, or a new one.
    ///
    /// # Errors
    /// [`ReadError::Deadline`], [`ReadError::Memory`].
    pub(crate) fn fold(
        &self,
        context: ReadContext<'_, '_>,
        plan: Plan,
        bounds: TimeBounds,
    ) -> Result<Fold, ReadError> {
        // Taken out of the cache: an equal question at the same time makes a fold of its own.
        let kept = {
            let mut all = self.all.lock();
            all.iter().position(|fold| fold.suits(context, &plan, bounds)).map(|at| all.remove(at))
        };
        if let Some(mut fold) = kept
            && fold.refresh(context)
        {
            return Ok(fold);
        }
        Fold::new(context, plan, bounds)
    }

    /// Keeps a fold for the next question.
    pub(crate) fn keep(&self, fold: Fold) {
        if fold.memory() > self.limit / 2 {
            return;
        }
        let mut all = self.all.lock();
        all.retain(|kept| kept.read_from.is_alive());
        match all.iter().position(|kept| kept.is_like(&fold)) {
            Some(at) if all[at].moment >= fold.moment => return,
            Some(at) => drop(all.remove(at)),
            None => {}
        }
        all.push(fold);
        let mut bytes = 0;
        let newest_that_fit = all.iter().rev().take_while(|fold| {
            bytes += fold.memory();
            bytes <= self.limit
        });
        let beyond = all.len() - newest_that_fit.count();
        all.drain(..beyond);
    }

    /// Drops the folds of tables that no longer exist.
    pub(crate) fn forget(&self) {
        self.all.lock().retain(|fold| fold.read_from.is_alive());
    }
}
