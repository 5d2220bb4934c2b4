//! Two revisions of a metric: the newer one counts its history beside the one that answers, takes its place in one step,
//! and the older one is fed on for a while, so that going back is a step too.
//!
//! What a start cannot see in the plugin folder, which revision answered while the newer one was not ready, is written
//! down beside the private copies of the files. Which of them is newer is nobody's guess: the folder's is.

use super::life::Work;
use super::roster::{Before, Next, Served, Stage};
use super::{Question, Revision, Role};
use crate::config::{MetricConfig, Promote};
use crate::engine::Engine;
use crate::plugin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
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
    /// Configuration and plugin folders are looked at now.
    Look,
}

/// A revision that answers although the folder holds another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answering {
    /// Content of its file; the private copy is named after it.
    pub(super) sha256: String,
    /// Its section of the configuration.
    pub(super) section: MetricConfig,
    /// The other one waits for a person's word.
    pub(super) held: bool,
}

/// By metric.
pub(super) type AnsweringBook = BTreeMap<String, Answering>;

fn book(private: &Path) -> PathBuf {
    private.join("answering.json")
}

/// What was written down; nothing where it cannot be read: then the folder's revision counts, and answers once it has.
pub(super) fn recall(private: &Path) -> AnsweringBook {
    let file = book(private);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return AnsweringBook::new(),
        Err(fault) => {
            tracing::warn!(file = %file.display(), "it is not known which revisions answered: {fault}");
            return AnsweringBook::new();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|fault| {
        tracing::warn!(file = %file.display(), "it is not known which revisions answered: {fault}");
        AnsweringBook::new()
    })
}

impl Work {
    /// Another revision than the one that answers: it counts beside it.
    pub(super) fn admit_next(&mut self, plugin: &Arc<plugin::Metric>) {
        self.drop_next(plugin.name());
        let Some(served) = self.place(plugin) else { return };
        tracing::info!(
            metric = plugin.name(),
            version = plugin.version(),
            "another revision: it counts its history while the one before answers"
        );
        let next = Next { served: served.clone(), held: plugin.section().promote == Promote::Manual };
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

    /// Lets newer revisions answer that have counted their history, and older ones go whose time is over.
    pub(super) fn turn(&mut self) {
        let due: Vec<String> = {
            let roster = self.parts.roster.read();
            let ready = roster.next.iter().filter(|(_, next)| !next.held && next.is_ready(&self.parts.board));
            ready.map(|(name, _)| name.clone()).collect()
        };
        for name in due {
            self.promote(&name);
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
    }

    /// Carries out what a person wants; a sentence on what was done, or why not.
    pub(super) fn obey(&mut self, order: &Order) -> Result<String, String> {
        match order {
            Order::Promote(name) => {
                let ready = self.parts.roster.read().next.get(name).map(|next| next.is_ready(&self.parts.board));
                match ready {
                    None => Err(format!("there is no other revision of {name} to promote: drop in its file first")),
                    Some(false) => {
                        if let Some(next) = self.parts.roster.write().next.get_mut(name) {
                            next.held = false;
                        }
                        self.write_down();
                        Ok(format!("{name}: the new revision still counts its history; it answers as soon as it has"))
                    }
                    Some(true) => {
                        self.promote(name);
                        Ok(format!("{name}: the new revision answers"))
                    }
                }
            }
            Order::Rollback(name) => {
                if !self.parts.roster.read().before.contains_key(name) {
                    return Err(format!(
                        "no earlier revision of {name} is fed any more: drop in its file, and it counts its history again"
                    ));
                }
                self.rollback(name);
                Ok(format!("{name}: the revision before answers; the other is fed on and waits for a promote"))
            }
            Order::Purge(name) => self.purge(name),
            Order::Look => Ok(self.look_now()),
        }
    }

    fn promote(&mut self, name: &str) {
        let (served, older) = {
            let mut roster = self.parts.roster.write();
            let Some(next) = roster.next.remove(name) else { return };
            let served = next.served;
            let until = Instant::now() + served.askable.plugin.keep_old();
            let old = roster.served.insert(name.to_owned(), served.clone());
            let older = old.and_then(|old| roster.before.insert(name.to_owned(), Before { served: old, until }));
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
            let next = current.and_then(|served| roster.next.insert(name.to_owned(), Next { served, held: true }));
            (before.served, next)
        };
        self.parts.lanes.answers_now(&served.revision);
        tracing::info!(metric = name, version = served.askable.plugin.version(), "the revision before answers again");
        if let Some(next) = dropped {
            self.release(&next.served);
        }
        self.write_down();
    }

    /// Writes down which revisions answer that the folder does not hold.
    pub(super) fn write_down(&self) {
        let book_now: AnsweringBook = {
            let roster = self.parts.roster.read();
            let answering = |(name, next): (&String, &Next)| {
                let plugin = &roster.served.get(name)?.askable.plugin;
                let (sha256, section) = (plugin.sha256().to_owned(), plugin.section().clone());
                Some((name.clone(), Answering { sha256, section, held: next.held }))
            };
            roster.next.iter().filter_map(answering).collect()
        };
        let file = book(&self.parts.private);
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.parts.private)?;
            let unfinished = file.with_extension("tmp");
            fs::write(&unfinished, serde_json::to_vec_pretty(&book_now)?)?;
            fs::rename(&unfinished, &file)
        };
        if let Err(fault) = write() {
            tracing::warn!(file = %file.display(), "which revisions answer cannot be written down: {fault}");
        }
    }
}

impl Engine {
    /// The revisions of a metric that are counted now, the one that answers first, with their answers to its examples; none
    /// for a name that is not served. Blocks: call it off the async threads.
    pub fn revisions(&self, name: &str) -> Vec<Revision> {
        let counted: Vec<(Role, Arc<Served>)> = {
            let roster = self.roster.read();
            let served = roster.served.get(name).map(|served| (Role::Answering, served.clone()));
            let next = roster.next.get(name).map(|next| (Role::Next, next.served.clone()));
            let before = roster.before.get(name).map(|before| (Role::Before, before.served.clone()));
            served.into_iter().chain(next).chain(before).collect()
        };
        let examples = counted.first().map(|(_, served)| served.description.clone());
        let ask = |served: &Arc<Served>| {
            let examples = examples.iter().flat_map(|description| &description.examples);
            let answer = |example: &tally_plugin::description::Example| {
                let question = Question {
                    name: name.to_owned(),
                    params: example.params.clone(),
                    at_least: None,
                    wait: Duration::ZERO,
                    allow_partial: true,
                };
                self.evaluate_of(served, &question)
            };
            examples.map(answer).collect()
        };
        let of = |(role, served): &(Role, Arc<Served>)| Revision {
            role: *role,
            id: format!("{:016x}", served.revision.fingerprint),
            info: served.info(&self.view, &self.board),
            examples: ask(served),
        };
        counted.iter().map(of).collect()
    }

    /// Has something done by the thread that looks after plugins. Blocks until it is, some seconds at most.
    ///
    /// # Errors
    /// A sentence: why it was not done.
    pub fn order(&self, order: Order) -> Result<String, String> {
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

impl Next {
    /// Whether it has counted its history and counts on.
    fn is_ready(&self, main: &crate::pipeline::Board) -> bool {
        matches!(&*self.served.stage.read(), Stage::Main) && self.served.halt(main).is_none()
    }
}
