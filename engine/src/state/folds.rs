//! Folds that are kept for the next equal question, of all tables of a state. They are bounded in bytes; losing one costs time,
//! never a number.

use super::allowance::ReadError;
use super::fold::{Bounds, Fold, Of};
use super::plan::Plan;
use parking_lot::Mutex;

/// Bytes of all kept folds, where nobody says otherwise.
const BYTES: u64 = 64 << 20;

/// Folds of the tables of all metrics, of one state or several. The oldest go first where they take more than they may, and one
/// that takes more than half of that is not kept.
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
    /// No more than so many bytes of them.
    #[must_use]
    pub fn new(limit: u64) -> Folds {
        Folds { limit: usize::try_from(limit).unwrap_or(usize::MAX), all: Mutex::default() }
    }

    /// The fold of a plan at this moment: a kept one with what came since, or a new one.
    ///
    /// # Errors
    /// [`ReadError::Deadline`], [`ReadError::Memory`].
    pub(crate) fn fold(&self, of: Of<'_, '_>, plan: Plan, bounds: Bounds) -> Result<Fold, ReadError> {
        // Taken out: who asks the same at the same time folds anew.
        let kept = {
            let mut all = self.all.lock();
            all.iter().position(|fold| fold.suits(of, &plan, bounds)).map(|at| all.remove(at))
        };
        if let Some(mut fold) = kept
            && fold.refresh(of)
        {
            return Ok(fold);
        }
        Fold::new(of, plan, bounds)
    }

    /// Keeps a fold for the next question.
    pub(crate) fn keep(&self, fold: Fold) {
        if fold.memory() > self.limit / 2 {
            return;
        }
        let mut all = self.all.lock();
        all.retain(|kept| kept.home.lives());
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

    /// Forgets the folds of tables that are no more.
    pub(crate) fn forget(&self) {
        self.all.lock().retain(|fold| fold.home.lives());
    }
}
