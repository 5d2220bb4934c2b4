//! Two revisions of a metric: the newer one counts its history beside the one that answers, takes its place in one step,
//! and the older one is fed on for a while, so that going back is a step too.
//!
//! Which of them answered, and what is wanted of them, is in the `book`. One that lacks events which the one that answers holds
//! does not take its place by itself: it is held back with the reason, until a person promotes it all the same.

use super::book::{Code, Entries, Entry, Kept, Newer};
use super::evaluate::now;
use super::life::Work;
use super::recall::Reading;
use super::roster::{Before, Next, Roster, Served, Stage, events_failed};
use super::{Question, Revision, Role};
use crate::config::Promote;
use crate::engine::Engine;
use crate::pipeline::{Board, Origin, View};
use crate::plugin;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newer revision of this metric answers from now on.
    Promote(String),
    /// The one before answers again.
    Rollback(String),
    /// Everything that is stored of this metric, which is not served, is removed.
    Purge(String),
    /// A partition goes on without the records at which it stands.
    Skip {
        /// Which.
        partition: u32,
        /// Offset of the first of them.
        offset: u64,
    },
    /// Configuration and plugin folders are looked at now.
    Look,
    /// The clock is right, however far it is ahead: panes and records expire by it from now on.
    AcceptClock,
}

/// What a person wants of a newer revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Will {
    /// It waits for a word before it answers.
    pub(super) waits: bool,
    /// It shall answer although its history is shorter, and so many events failed in it when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) accepted: Option<u64>,
}

impl Work {
    /// Another revision than the one that answers: it counts beside it.
    pub(super) fn admit_next(&mut self, plugin: &Arc<plugin::Metric>) {
        self.drop_next(plugin.name());
        let Some(served) = self.place(&Reading::configured(plugin)) else { return };
        self.follow(&served);
        tracing::info!(
            metric = plugin.name(),
            version = plugin.version(),
            "another revision: it counts its history while the one before answers"
        );
        let will = Will { waits: plugin.section().promote == Promote::Manual, accepted: None };
        let next = Next::new(served.clone(), will);
        self.parts.roster.write().next.insert(plugin.name().to_owned(), next);
        self.parts.waiting.push(served);
        self.write_down();
    }

    /// The newer revision is not wanted any more.
    pub(super) fn drop_next(&mut self, name: &str) {
        let next = self.parts.roster.write().next.remove(name);
        if let Some(next) = next {
            self.release(&next.served);
            self.write_down();
        }
    }

    /// Lets newer revisions answer that have counted their history and lack nothing, and older ones go whose time is over.
    pub(super) fn turn(&mut self) {
        let newer: Vec<String> = self.parts.roster.read().next.keys().cloned().collect();
        for name in newer {
            self.look_at_newer(&name);
        }
        let over: Vec<Arc<Served>> = {
            let mut roster = self.parts.roster.write();
            let now = Instant::now();
            let names: Vec<String> =
                roster.before.iter().filter(|(_, before)| before.until <= now).map(|(name, _)| name.clone()).collect();
            names.iter().filter_map(|name| roster.before.remove(name)).map(|before| before.served).collect()
        };
        for served in over {
            tracing::info!(metric = served.askable.plugin.name(), "the revision before is no longer fed");
            self.release(&served);
        }
        self.write_down();
    }

    /// Lets a newer revision answer, or notes why not.
    fn look_at_newer(&mut self, name: &str) {
        let (newer, answering) = {
            let roster = self.parts.roster.read();
            let (Some(next), Some(answering)) = (roster.next.get(name), roster.served.get(name)) else { return };
            (next.served.clone(), answering.clone())
        };
        let view = &self.parts.view;
        // What either lacks is known of all that is stored, or it is not known yet.
        if !newer.is_known(view) || !answering.is_known(view) {
            return;
        }
        let ((_, counted), (_, goal)) = (newer.origins(view), answering.origins(view));
        let counts = newer.is_ready(&self.parts.board);
        let (ready, looked) = {
            let mut roster = self.parts.roster.write();
            let Some(next) = roster.next.get_mut(name) else { return };
            next.ready = counts && next.goal.as_ref().is_some_and(|goal| counted.reaches(goal));
            (next.ready, next.goal.replace(goal).is_some())
        };
        // Of what other engines hold it may lack all, for as long as they do not count it: then it is never ready.
        let done = ready || counts && looked && newer.follower.is_some();
        let held = self.parts.roster.read().held_back(name, view, done);
        if ready && held.is_none() {
            return self.promote(name);
        }
        let mut roster = self.parts.roster.write();
        let Some(next) = roster.next.get_mut(name) else { return };
        if let (None, Some(why)) = (&next.held, &held) {
            tracing::warn!(metric = name, "the newer revision does not take its place by itself: {why}");
        }
        next.held = held;
    }

    /// Carries out what a person wants; a sentence on what was done, or why not.
    pub(super) fn obey(&mut self, order: &Order) -> Result<String, String> {
        match order {
            Order::Promote(name) => self.promote_now(name),
            Order::Rollback(name) => {
                let halt = {
                    let roster = self.parts.roster.read();
                    let before = roster.before.get(name).ok_or_else(|| roster.nothing_before(name))?;
                    before.served.halt(&self.parts.board)
                };
                if let Some(halt) = halt {
                    return Err(format!("{name}: the revision before is quarantined and cannot answer: {halt}"));
                }
                self.rollback(name);
                Ok(format!("{name}: the revision before answers; the other is fed on and waits for a promote"))
            }
            Order::Purge(name) => self.purge(name),
            Order::Skip { partition, offset } => self.skip(*partition, *offset),
            // Needs no thread; see `Engine::order`.
            Order::AcceptClock => Ok("the clock was confirmed".into()),
            Order::Look => Ok(self.look_now()),
        }
    }

    fn promote_now(&mut self, name: &str) -> Result<String, String> {
        let (served, answering, ready) = {
            let roster = self.parts.roster.read();
            let next = roster.next.get(name).ok_or_else(|| roster.nothing_newer(name))?;
            (next.served.clone(), roster.served.get(name).cloned(), next.ready)
        };
        if let Some(halt) = served.halt(&self.parts.board) {
            return Err(format!("{name}: the newer revision is quarantined and cannot answer: {halt}"));
        }
        let (origins, counted) = served.origins(&self.parts.view);
        let as_far = answering.is_none_or(|answering| counted.reaches(&answering.origins(&self.parts.view).1));
        let failed = Origin::failed(&origins);
        let lacks = if failed > 0 { format!("; {}", events_failed(name, failed)) } else { String::new() };
        if served.is_ready(&self.parts.board) && (ready || as_far) {
            self.promote(name);
            return Ok(format!("{name}: the new revision answers{lacks}"));
        }
        if let Some(next) = self.parts.roster.write().next.get_mut(name) {
            (next.will, next.held) = (Will { waits: false, accepted: Some(failed) }, None);
        }
        self.write_down();
        Ok(format!(
            "{name}: the new revision still counts its history; it answers as soon as it has, unless its code fails on events meanwhile{lacks}"
        ))
    }

    fn promote(&mut self, name: &str) {
        let (served, older) = {
            let mut roster = self.parts.roster.write();
            let Some(next) = roster.next.remove(name) else { return };
            let served = next.served;
            let keep = served.askable.plugin.keep_old();
            let until = Instant::now() + keep;
            let until_ms = now().saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
            let old = roster.served.insert(name.to_owned(), served.clone());
            let before = |served| Before { served, until, until_ms };
            let older = old.and_then(|old| roster.before.insert(name.to_owned(), before(old)));
            (served, older)
        };
        self.parts.lanes.answers_now(&served.revision);
        tracing::info!(metric = name, version = served.askable.plugin.version(), "the new revision answers");
        if let Some(older) = older {
            self.release(&older.served);
        }
        self.write_down();
    }

    pub(super) fn rollback(&mut self, name: &str) {
        let (served, dropped) = {
            let mut roster = self.parts.roster.write();
            let Some(before) = roster.before.remove(name) else { return };
            let current = roster.served.insert(name.to_owned(), before.served.clone());
            let will = Will { waits: true, accepted: None };
            let next = current.and_then(|served| roster.next.insert(name.to_owned(), Next::new(served, will)));
            (before.served, next)
        };
        self.parts.lanes.answers_now(&served.revision);
        tracing::info!(metric = name, version = served.askable.plugin.version(), "the revision before answers again");
        if let Some(next) = dropped {
            self.release(&next.served);
        }
        self.write_down();
    }

    /// Writes down what outlives the engine, if it is not there yet.
    pub(super) fn write_down(&mut self) {
        let roster = self.parts.roster.read();
        let code = |served: &Served| {
            let plugin = &served.askable.plugin;
            let (sha256, section) = (plugin.sha256().to_owned(), plugin.section().clone());
            Code { sha256, section, revision: Some(served.number()) }
        };
        let entry = |(name, served): (&String, &Arc<Served>)| {
            let next = roster.next.get(name);
            let before = roster.before.get(name);
            let entry = Entry {
                answering: code(served),
                held: next.is_some_and(|next| next.will.waits),
                newer: next.map(|next| Newer { revision: next.served.number(), will: next.will }),
                before: before.map(|before| Kept { code: code(&before.served), until: before.until_ms }),
            };
            (name.clone(), entry)
        };
        let entries: Entries = roster.served.iter().map(entry).collect();
        // One that is not served, for its file is refused or left out today, may be tomorrow.
        let retired: Vec<&str> = roster.retired.keys().map(String::as_str).collect();
        self.parts.book.note(entries, &retired);
    }
}

impl Roster {
    /// Why the newer revision of a metric does not take the place of the one that answers by itself; nothing where it does. What its
    /// history lacks can be said once it is `done` with it.
    fn held_back(&self, name: &str, view: &View, done: bool) -> Option<String> {
        let next = self.next.get(name)?;
        let answering = self.served.get(name)?;
        if next.will.waits {
            return Some(format!("it waits for a word: tally plugin promote {name}"));
        }
        let (origins, _) = next.served.origins(view);
        let failed = Origin::failed(&origins);
        if failed > next.will.accepted.unwrap_or(0) {
            return Some(format!(
                "its code failed on {failed} events, which are in none of its numbers: mend the plugin and raise its `revision`, or have it answer all the same: tally plugin promote {name}"
            ));
        }
        if next.will.accepted.is_some() || !done {
            return None;
        }
        if answering.follower.as_ref().is_some_and(|follower| follower.refused().is_some()) {
            return Some(format!(
                "there is no memory to load the revision that answers, so it is not known what this one lacks: have it answer all the same: tally plugin promote {name}"
            ));
        }
        let (older, position) = answering.origins(view);
        let lacks = Origin::lacks(&origins, &older, &position)?;
        Some(format!(
            "its history is shorter than that of the revision that answers ({lacks}): have it answer all the same: tally plugin promote {name}"
        ))
    }

    fn nothing_newer(&self, name: &str) -> String {
        let Some(served) = self.served.get(name) else { return self.not_served(name) };
        let plugin = served.askable.plugin.plugin();
        let of = |file: &str| {
            let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy());
            stem.is_some_and(|stem| stem.trim_start_matches("lib") == plugin) || file == format!("[metrics.{name}]")
        };
        match self.rejected.iter().find(|rejected| of(&rejected.file)) {
            Some(refused) => {
                // Which folder it lies in is nobody's business.
                let file = Path::new(&refused.file).file_name().unwrap_or(refused.file.as_ref()).to_string_lossy();
                format!("there is no other revision of {name} to promote: {file} is refused: {}", refused.reason)
            }
            None => format!("there is no other revision of {name} to promote: drop in its file first"),
        }
    }

    fn nothing_before(&self, name: &str) -> String {
        if !self.served.contains_key(name) {
            return self.not_served(name);
        }
        format!("no earlier revision of {name} is fed any more: drop in its file, and it counts its history again")
    }

    fn not_served(&self, name: &str) -> String {
        let what = if self.retired.contains_key(name) { "is retired" } else { "is no metric that is served" };
        format!("{name} {what}; tally plugin list shows which are")
    }
}

impl Engine {
    /// The revisions of a metric that are counted now, the one that answers first, with their answers to its examples; none
    /// for a name that is not served. Blocks: call it off the async threads.
    pub fn revisions(&self, name: &str) -> Vec<Revision> {
        let counted: Vec<Counted> = {
            let roster = self.roster.read();
            let counted =
                |role, served: &Arc<Served>| Counted { role, served: served.clone(), held: None, until: None };
            let served = roster.served.get(name).map(|served| counted(Role::Answering, served));
            let next = roster.next.get(name);
            let next = next.map(|next| Counted { held: next.held.clone(), ..counted(Role::Next, &next.served) });
            let before = roster.before.get(name);
            let before =
                before.map(|before| Counted { until: Some(before.until_ms), ..counted(Role::Before, &before.served) });
            served.into_iter().chain(next).chain(before).collect()
        };
        let examples = counted.first().map(|counted| counted.served.description.clone());
        let ask = |served: &Arc<Served>| {
            let examples = examples.iter().flat_map(|description| &description.examples);
            let answer = |example: &tally_plugin::description::Example| {
                let question = Question {
                    name: name.to_owned(),
                    params: example.params.clone(),
                    at_least: None,
                    wait: Duration::ZERO,
                    allow_partial: true,
                    calling: Arc::default(),
                };
                self.evaluate_of(served, &question)
            };
            examples.map(answer).collect()
        };
        let of = |Counted { role, served, held, until }| Revision {
            role,
            id: served.number(),
            info: served.info(&self.view, &self.board),
            held,
            until,
            examples: ask(&served),
        };
        counted.into_iter().map(of).collect()
    }

    /// Has something done by the thread that looks after plugins. Blocks until it is, some seconds at most.
    ///
    /// # Errors
    /// A sentence: why it was not done.
    pub fn order(&self, order: Order) -> Result<String, String> {
        if order == Order::AcceptClock {
            let now = jiff::Timestamp::from_millisecond(self.view.clock().accept()).unwrap_or_default();
            tracing::warn!("the clock was confirmed by a person: it is {now}");
            return Ok(format!("it is {now}; minutes, hours and records expire by that from now on"));
        }
        if let Order::Purge(name) = &order {
            self.counted_nowhere(name)?;
        }
        let life = self.life.lock().at_work()?;
        life.order(order)
    }

    /// Has configuration and plugin folders looked at now, rather than within half a second; returns at once. The configuration
    /// is read again even if its file seems unchanged; what is wrong with it is logged, and everything goes on.
    pub fn look(&self) {
        let asked = self.life.lock().at_work().and_then(|life| life.send(Order::Look).map(drop));
        if let Err(reason) = asked {
            tracing::warn!("configuration and plugin folders are not looked at: {reason}");
        }
    }
}

/// A revision and what it is to its metric.
struct Counted {
    role: Role,
    served: Arc<Served>,
    held: Option<String>,
    until: Option<i64>,
}

impl Served {
    /// Whether it has counted its history and counts on.
    fn is_ready(&self, main: &Board) -> bool {
        matches!(&*self.stage.read(), Stage::Main) && self.halt(main).is_none()
    }
}
