//! What each live question waits for, and which are evaluated next.
//!
//! A question waits once something may have changed its answer: rows that it looks at, its window
//! or series, or what is told with the answers of its metric (`facts`). It begins when its pace
//! allows that, in the order in which questions came to be due. What comes while it is evaluated
//! and is not in the moment that it is evaluated at has it evaluated once more.
//!
//! What a question looks at is known when its answer is there. Rows that came after its moment and
//! were looked at before that were matched with what it had looked at until then: where that
//! differs, it is evaluated once more (`late`). One that gave no answer looks at everything, and is
//! tried again a second later.

use super::entry::{LiveEntry, LivePhase};
use super::types::{InterestChange, LiveFinish, LiveLook, LiveOutcome, LiveRound};
use super::walker::Walked;
use crate::query::Footprint;
use crate::state::Reading;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Questions of one metric that are evaluated at one moment.
const ROUND: usize = 64;

/// All live questions.
#[derive(Default)]
pub struct LiveMachine {
    questions: BTreeMap<u64, LiveEntry>,
    /// By metric and canonical params.
    numbers: BTreeMap<(Arc<str>, Arc<str>), u64>,
    metrics: BTreeMap<Arc<str>, WatchedMetric>,
    /// When questions come to mean something else, Unix milliseconds.
    edges: BTreeSet<(i64, u64)>,
    /// Not used yet as a question's number; no number is used twice.
    next: u64,
    /// Counts the times that a question began to wait.
    turns: u64,
    /// A fault that a test finds.
    #[cfg(test)]
    forgets_late: bool,
}

/// A metric to which there are questions.
#[derive(Default)]
struct WatchedMetric {
    questions: BTreeSet<u64>,
    /// Those that wait: when each may begin, its turn.
    due: BTreeSet<(Instant, u64, u64)>,
    /// What looks do not know yet.
    fresh: Vec<FreshFootprint>,
    /// Of the last look; there is no generation 0.
    generation: u64,
    facts: Option<String>,
    walked: u64,
}

/// What a question has come to look at.
struct FreshFootprint {
    question: u64,
    /// `None`: the question is gone.
    footprint: Option<Arc<Footprint>>,
    /// The version of the answer that says so.
    version: Option<u64>,
}

impl LiveMachine {
    /// Number of questions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The metrics to which there are questions.
    pub fn metrics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.metrics.keys()
    }

    /// Number of a question that is watched, by its metric and canonical params.
    #[must_use]
    pub fn find(&self, metric: &Arc<str>, canonical: &Arc<str>) -> Option<u64> {
        self.numbers.get(&(Arc::clone(metric), Arc::clone(canonical))).copied()
    }

    /// Somebody watches a question, which may be watched already. Returns its number.
    pub fn open(
        &mut self,
        (metric, canonical): (&Arc<str>, &Arc<str>),
        params: &Arc<Value>,
        pace: Duration,
        now: Instant,
    ) -> u64 {
        if let Some(known) = self.find(metric, canonical) {
            self.repace(known, None, Some(pace));
            return known;
        }
        let question = self.next;
        self.next += 1;
        self.numbers.insert((Arc::clone(metric), Arc::clone(canonical)), question);
        self.questions.insert(question, LiveEntry::new((metric, canonical), params, pace));
        let watched = self.metrics.entry(Arc::clone(metric)).or_default();
        watched.questions.insert(question);
        let footprint = Some(Arc::default());
        watched.fresh.push(FreshFootprint { question, footprint, version: None });
        self.wake(question, now);
        question
    }

    /// One who watched a question at this pace is gone. Returns whether nobody watches it any more.
    pub fn close(&mut self, question: u64, pace: Duration) -> bool {
        self.repace(question, Some(pace), None);
        let is_watched = |entry: &LiveEntry| !entry.paces.is_empty();
        if self.questions.get(&question).is_none_or(is_watched) {
            return false;
        }
        self.leave_queue(question);
        let Some(entry) = self.questions.remove(&question) else { return false };
        if let Some(edge) = entry.edge {
            self.edges.remove(&(edge, question));
        }
        if let Some(watched) = self.metrics.get_mut(&entry.metric) {
            watched.questions.remove(&question);
            watched.fresh.push(FreshFootprint { question, footprint: None, version: None });
            if watched.questions.is_empty() {
                self.metrics.remove(&entry.metric);
            }
        }
        self.numbers.remove(&(entry.metric, entry.canonical));
        true
    }

    /// One who watches at one pace does so at another from now on.
    pub fn repace(&mut self, question: u64, from: Option<Duration>, to: Option<Duration>) {
        let Some(entry) = self.questions.get_mut(&question) else { return };
        entry.repace(from, to);
        if let Some(woken) = self.leave_queue(question) {
            self.wake(question, woken);
        }
    }

    /// Begins a look at a metric, of which a moment was seen before; `None`: nobody watches it.
    /// `generation` (from 1 on) differs where another revision answers, `facts` where its answers
    /// say something else beside their results.
    pub fn begin_look(
        &mut self,
        metric: &str,
        generation: u64,
        facts: &str,
        now: Instant,
    ) -> Option<LiveLook> {
        let watched = self.metrics.get_mut(metric)?;
        let fresh = std::mem::take(&mut watched.fresh);
        let restarted = std::mem::replace(&mut watched.generation, generation) != generation;
        let is_other = watched.facts.as_deref() != Some(facts);
        if is_other {
            watched.facts = Some(facts.to_owned());
        }
        if restarted {
            watched.walked = 0;
        }
        let walked = watched.walked;
        let all =
            if restarted || is_other { watched.questions.clone() } else { BTreeSet::default() };
        let changes = if restarted {
            let everything = Arc::default();
            all.iter().filter_map(|question| self.set_footprint(*question, &everything)).collect()
        } else {
            fresh.into_iter().filter_map(|fresh| self.take_over(fresh, walked, now)).collect()
        };
        all.into_iter().for_each(|question| self.wake(question, now));
        let watched = self.metrics.get(metric)?;
        Some(LiveLook { restarted, changes, idle: watched.due.len() == watched.questions.len() })
    }

    /// From now on rows are matched with what an answer looked at; until now, up to version
    /// `walked`, they were not.
    fn take_over(
        &mut self,
        fresh: FreshFootprint,
        walked: u64,
        now: Instant,
    ) -> Option<InterestChange> {
        let FreshFootprint { question, footprint, version } = fresh;
        let Some(footprint) = footprint else { return Some(InterestChange::Remove(question)) };
        let before = Arc::clone(&self.questions.get(&question)?.footprint);
        // What looked at everything has missed nothing.
        let other = before.interests().is_some() && before != footprint;
        let late = other && version.is_some_and(|version| walked > version);
        #[cfg(test)]
        let late = late && !self.forgets_late;
        if late {
            self.wake(question, now);
        }
        self.set_footprint(question, &footprint)
    }

    fn set_footprint(
        &mut self,
        question: u64,
        footprint: &Arc<Footprint>,
    ) -> Option<InterestChange> {
        self.questions.get_mut(&question)?.footprint = Arc::clone(footprint);
        Some(InterestChange::Set(question, Arc::clone(footprint)))
    }

    /// The questions to a metric whose meaning depends on what is held: number, params, and what
    /// they meant.
    #[must_use]
    pub fn following(&self, metric: &str) -> Vec<(u64, Arc<Value>, String)> {
        let questions = self.metrics.get(metric).into_iter().flat_map(|of| &of.questions);
        let following = |question: &u64| {
            let entry = self.questions.get(question)?;
            Some((*question, Arc::clone(&entry.params), entry.meaning.clone()?))
        };
        questions.filter_map(following).collect()
    }

    /// Ends a look at a metric: what came up to a version concerns these questions.
    pub fn moved(&mut self, metric: &str, walked: &Walked, now: Instant) {
        let Some(watched) = self.metrics.get_mut(metric) else { return };
        watched.walked = walked.version;
        if walked.reading == Reading::Exact && !walked.coarser {
            walked.hits.iter().for_each(|question| self.hit(*question, walked.version, now));
            return;
        }
        for question in watched.questions.clone() {
            if walked.coarser {
                // No version says so.
                self.wake(question, now);
            } else {
                self.hit(question, walked.version, now);
            }
        }
    }

    /// Rows up to a version concern a question.
    fn hit(&mut self, question: u64, version: u64, now: Instant) {
        let Some(entry) = self.questions.get_mut(&question) else { return };
        if let LivePhase::Runs { hit, .. } = &mut entry.phase {
            let (before, since) = hit.unwrap_or((0, now));
            *hit = Some((before.max(version), since));
        } else if entry.answered.is_none_or(|answered| answered < version) {
            self.wake(question, now);
        }
    }

    /// The clock shows `now_ms`: questions whose windows or series have moved by then wait.
    pub fn clock(&mut self, now_ms: i64, now: Instant) {
        while let Some((edge, question)) = self.edges.first().copied()
            && edge <= now_ms
        {
            self.edges.remove(&(edge, question));
            let Some(entry) = self.questions.get_mut(&question) else { continue };
            entry.edge = None;
            // One that is evaluated says when its window moves next.
            if !matches!(entry.phase, LivePhase::Runs { .. }) {
                self.wake(question, now);
            }
        }
    }

    /// The questions of one metric that are to be evaluated now, all at one moment that is taken
    /// from now on. Each must be finished or put back.
    pub fn due(&mut self, now: Instant) -> Option<LiveRound> {
        let first = self.metrics.iter().filter_map(|(metric, of)| {
            let (ready, turn, _) = of.due.first()?;
            (*ready <= now).then_some((*ready, *turn, metric))
        });
        let metric = Arc::clone(first.min()?.2);
        let due = self.metrics.get(&metric)?.due.iter();
        let due = due.take_while(|(ready, ..)| *ready <= now).take(ROUND);
        let due: Vec<u64> = due.map(|(.., question)| *question).collect();
        let mut questions = Vec::with_capacity(due.len());
        for question in due {
            let Some(woken) = self.leave_queue(question) else { continue };
            let Some(entry) = self.questions.get_mut(&question) else { continue };
            let before = entry.begun.replace(now);
            entry.phase = LivePhase::Runs { woken, before, again: None, hit: None };
            questions.push((question, Arc::clone(&entry.params)));
        }
        Some(LiveRound { metric, questions })
    }

    /// A question of a round was not evaluated: it may begin at `ready`.
    pub fn put_back(&mut self, question: u64, ready: Instant) {
        let Some(entry) = self.questions.get_mut(&question) else { return };
        let LivePhase::Runs { woken, before, .. } = entry.phase else { return };
        (entry.begun, entry.phase) = (before, LivePhase::Rests);
        self.wait(question, woken, ready);
    }

    /// A question of a round was evaluated; `None`: nobody watches it any more.
    pub fn finish(
        &mut self,
        question: u64,
        outcome: LiveOutcome,
        now: Instant,
    ) -> Option<LiveFinish> {
        let LiveOutcome { version, footprint, edge, meaning, failed } = outcome;
        let entry = self.questions.get_mut(&question)?;
        let LivePhase::Runs { woken, again, hit, .. } = entry.phase else { return None };
        let begun = entry.begun.unwrap_or(now);
        (entry.phase, entry.failed, entry.meaning) = (LivePhase::Rests, failed, meaning);
        entry.answered = (!failed).then_some(version);
        if let Some(before) = std::mem::replace(&mut entry.edge, edge) {
            self.edges.remove(&(before, question));
        }
        self.edges.extend(edge.map(|edge| (edge, question)));
        let is_next = self.edges.first().is_some_and(|(_, first)| *first == question);
        let mut urgent = edge.is_some() && is_next;
        if let Some(watched) = self.metrics.get_mut(&entry.metric) {
            urgent |= watched.walked > version && entry.footprint != footprint;
            let (footprint, version) = (Some(footprint), Some(version));
            watched.fresh.push(FreshFootprint { question, footprint, version });
        }
        let missed = hit.filter(|(hit, _)| *hit > version).map(|(_, since)| since);
        if let Some(since) = again.or(missed).or(failed.then_some(now)) {
            self.wake(question, since);
        }
        Some(LiveFinish { woken, begun, urgent })
    }

    /// When the next question may begin.
    #[must_use]
    pub fn next_ready(&self) -> Option<Instant> {
        self.metrics.values().filter_map(|of| of.due.first()).map(|(ready, ..)| *ready).min()
    }

    /// When the next window or series moves, Unix milliseconds.
    #[must_use]
    pub fn next_edge(&self) -> Option<i64> {
        self.edges.first().map(|(edge, _)| *edge)
    }

    /// Something may have changed the answer to a question, as was seen at `now`.
    fn wake(&mut self, question: u64, now: Instant) {
        let Some(entry) = self.questions.get_mut(&question) else { return };
        match &mut entry.phase {
            LivePhase::Waits { .. } => {}
            LivePhase::Runs { again, .. } => *again = again.or(Some(now)),
            LivePhase::Rests => {
                let ready = entry.ready(now);
                self.wait(question, now, ready);
            }
        }
    }

    /// A question that rests waits from now on.
    fn wait(&mut self, question: u64, woken: Instant, ready: Instant) {
        let Some(entry) = self.questions.get_mut(&question) else { return };
        let turn = self.turns;
        self.turns += 1;
        entry.phase = LivePhase::Waits { woken, ready, turn };
        if let Some(watched) = self.metrics.get_mut(&entry.metric) {
            watched.due.insert((ready, turn, question));
        }
    }

    /// A question that waits rests. Returns since when it waited.
    fn leave_queue(&mut self, question: u64) -> Option<Instant> {
        let entry = self.questions.get_mut(&question)?;
        let LivePhase::Waits { woken, ready, turn } = entry.phase else { return None };
        entry.phase = LivePhase::Rests;
        let watched = self.metrics.get_mut(&entry.metric)?;
        watched.due.remove(&(ready, turn, question));
        Some(woken)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
