//! When questions are evaluated, in tables: paces, turns, rows that come at any moment of an
//! evaluation, facts, edges, failures.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::*;
use crate::query::footprint::FootprintNotes;
use tally_plugin::description::Table;
use tally_plugin::read::ReadRequest;

const METRIC: &str = "m";

/// A machine, and what walks the rows for it. A row lies in a table and has no more to it.
struct Rig {
    machine: LiveMachine,
    start: Instant,
    facts: &'static str,
    generation: u64,
    looks_at: BTreeMap<u64, Arc<Footprint>>,
    /// Tables of the rows that came since the last look, and the version that has them.
    came: Vec<u16>,
    version: u64,
}

fn footprint(tables: &[u16]) -> Arc<Footprint> {
    let described: Vec<Table> = (0..4)
        .map(|n| Table {
            name: n.to_string(),
            key: Vec::new(),
            group: 0,
            only: Vec::new(),
            cells: Vec::new(),
            tiers: Vec::new(),
        })
        .collect();
    let notes = FootprintNotes::new(&described);
    for table in tables {
        notes.note(&ReadRequest { table: table.to_string(), ..ReadRequest::default() });
    }
    Arc::new(notes.footprint())
}

impl Rig {
    fn new() -> Rig {
        Rig {
            machine: LiveMachine::default(),
            start: Instant::now(),
            facts: "",
            generation: 1,
            looks_at: BTreeMap::new(),
            came: Vec::new(),
            version: 1,
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn open(&mut self, metric: &str, params: u64, pace: u64) -> u64 {
        let key = (&Arc::from(metric), &Arc::from(params.to_string()));
        let pace = Duration::from_millis(pace);
        self.machine.open(key, &Arc::new(params.into()), pace, self.start)
    }

    fn row(&mut self, table: u16) {
        self.came.push(table);
        self.version += 1;
    }

    /// Whether every question waited already.
    fn look(&mut self, ms: u64) -> bool {
        let now = self.at(ms);
        let look = self.machine.begin_look(METRIC, self.generation, self.facts, now).unwrap();
        for change in look.changes {
            match change {
                InterestChange::Set(question, footprint) => {
                    self.looks_at.insert(question, footprint);
                }
                InterestChange::Remove(question) => {
                    self.looks_at.remove(&question);
                }
            }
        }
        let came = std::mem::take(&mut self.came);
        let hit = |(question, footprint): (&u64, &Arc<Footprint>)| {
            let Some(interests) = footprint.interests() else { return Some(*question) };
            let is_hit = interests.iter().any(|interest| came.contains(&interest.table));
            is_hit.then_some(*question)
        };
        let hits = self.looks_at.iter().filter_map(hit).collect();
        let walked =
            Walked { version: self.version, reading: Reading::Exact, hits, coarser: false };
        self.machine.moved(METRIC, &walked, now);
        look.idle
    }

    /// The questions that are due.
    fn due(&mut self, ms: u64) -> Vec<u64> {
        let round = self.machine.due(self.at(ms));
        round.into_iter().flat_map(|round| round.questions).map(|(question, _)| question).collect()
    }

    /// Ends an evaluation that read these tables at a version.
    fn finish(&mut self, question: u64, version: u64, tables: &[u16], ms: u64) -> LiveFinish {
        let footprint = footprint(tables);
        let outcome = LiveOutcome { version, footprint, ..LiveOutcome::default() };
        self.machine.finish(question, outcome, self.at(ms)).unwrap()
    }

    /// One question that has its first answer, from table 0, and to which nothing is due.
    fn settled(pace: u64) -> (Rig, u64) {
        let mut rig = Rig::new();
        let question = rig.open(METRIC, 0, pace);
        rig.look(0);
        assert_eq!(rig.due(0), [question]);
        rig.finish(question, rig.version, &[0], 0);
        rig.look(0);
        assert_eq!(rig.due(10_000), [0; 0], "nothing came");
        (rig, question)
    }
}

#[test]
fn rows_of_other_tables_wake_nobody_and_the_pace_is_kept() {
    let (mut rig, question) = Rig::settled(100);
    for ms in 1..50 {
        rig.row(1);
        rig.look(ms);
    }
    assert_eq!(rig.machine.next_ready(), None);
    for ms in 50..60 {
        rig.row(0);
        rig.look(ms);
    }
    assert_eq!(rig.due(99), [0; 0]);
    assert_eq!(rig.machine.next_ready(), Some(rig.at(100)));
    assert_eq!(rig.due(100), [question], "once for all ten rows");
    let finished = rig.finish(question, rig.version, &[0], 101);
    assert_eq!(finished.woken, rig.at(50), "since the first of them was seen");
    assert_eq!(rig.due(10_000), [0; 0]);
    // After a while nothing has to be waited for.
    rig.row(0);
    rig.look(1_000);
    assert_eq!(rig.due(1_000), [question]);
}

#[test]
fn the_pace_is_the_fastest_of_those_who_watch() {
    let (mut rig, question) = Rig::settled(500);
    let ms = Duration::from_millis;
    assert_eq!(rig.open(METRIC, 0, 100), question, "the same question");
    assert_eq!(rig.machine.len(), 1);
    rig.row(0);
    rig.look(1);
    assert_eq!(rig.machine.next_ready(), Some(rig.at(100)));
    rig.machine.repace(question, Some(ms(100)), Some(ms(300)));
    assert_eq!(rig.machine.next_ready(), Some(rig.at(300)));
    assert!(!rig.machine.close(question, ms(300)));
    assert_eq!(rig.machine.next_ready(), Some(rig.at(500)));
    assert!(rig.machine.close(question, ms(500)));
    assert!(rig.machine.is_empty() && rig.machine.next_ready().is_none());
    assert_eq!(rig.machine.metrics().count(), 0);
    assert!(!rig.machine.close(question, ms(500)), "once");
    assert_ne!(rig.open(METRIC, 0, 100), question, "no number is used twice");
}

#[test]
fn questions_take_turns_and_those_of_a_metric_go_together() {
    let mut rig = Rig::new();
    let first: Vec<u64> = (0..70).map(|n| rig.open(METRIC, n, 100)).collect();
    let other = rig.open("other", 0, 100);
    let last = rig.open(METRIC, 100, 100);
    assert_eq!(rig.due(0), first[..64]);
    assert_eq!(rig.due(0), [&first[64..], &[last]].concat());
    assert_eq!(rig.due(0), [other]);
    assert_eq!(rig.due(0), [0; 0]);
    // What was not evaluated keeps its claim, whatever its pace.
    rig.machine.put_back(first[3], rig.at(5));
    assert_eq!(rig.due(4), [0; 0]);
    assert_eq!(rig.due(5), [first[3]]);
}

#[test]
fn rows_during_an_evaluation_count_if_its_moment_lacks_them() {
    for (lacks, again) in [(false, vec![]), (true, vec![0])] {
        let (mut rig, question) = Rig::settled(0);
        rig.row(0);
        rig.look(1);
        assert_eq!(rig.due(1), [question]);
        let begun = rig.version;
        rig.row(0);
        rig.look(2);
        let moment = if lacks { begun } else { rig.version };
        rig.finish(question, moment, &[0], 3);
        assert_eq!(rig.due(3), again, "{lacks}");
    }
    // A look that comes after the moment and ends before it names nobody.
    let (mut rig, question) = Rig::settled(0);
    rig.row(0);
    rig.look(1);
    assert_eq!(rig.due(1), [question]);
    rig.row(0);
    rig.finish(question, rig.version, &[0], 2);
    rig.look(3);
    assert_eq!(rig.due(3), [0; 0], "the answer has these rows");
}

/// What a question looks at depends on what it finds: after its moment rows came to a table at
/// which it had not looked before.
fn late_rows(forgets: bool) -> Vec<u64> {
    let (mut rig, question) = Rig::settled(0);
    rig.machine.forgets_late = forgets;
    rig.row(0);
    rig.look(1);
    assert_eq!(rig.due(1), [question]);
    let moment = rig.version;
    rig.row(1);
    rig.look(2);
    let finished = rig.finish(question, moment, &[0, 1], 3);
    assert!(finished.urgent, "it is known only at the next look");
    rig.look(4);
    rig.due(4)
}

#[test]
fn a_row_that_only_the_next_answer_would_have_looked_at_is_not_lost() {
    assert_eq!(late_rows(false), [0]);
    assert_eq!(late_rows(true), [0; 0], "the fault that this guards against");
    // What it looks at is known: nothing is evaluated twice.
    let (mut rig, question) = Rig::settled(0);
    rig.row(0);
    rig.look(1);
    assert_eq!(rig.due(1), [question]);
    let moment = rig.version;
    rig.row(1);
    rig.look(2);
    assert!(!rig.finish(question, moment, &[0], 3).urgent);
    rig.look(4);
    assert_eq!(rig.due(4), [0; 0]);
}

#[test]
fn what_is_unknown_concerns_everybody_and_so_do_facts_and_revisions() {
    let (mut rig, question) = Rig::settled(0);
    rig.row(3);
    let (version, reading) = (rig.version, Reading::Unknown);
    let walked = Walked { version, reading, hits: Vec::new(), coarser: false };
    rig.machine.moved(METRIC, &walked, rig.at(1));
    assert_eq!(rig.due(1), [question]);
    rig.finish(question, version, &[0], 1);
    rig.machine.moved(METRIC, &walked, rig.at(2));
    assert_eq!(rig.due(2), [0; 0], "its answer is of that version");
    let coarser = Walked { reading: Reading::Exact, coarser: true, ..walked };
    rig.machine.moved(METRIC, &coarser, rig.at(3));
    assert_eq!(rig.due(3), [question], "windows may have become longer at the same version");
    rig.finish(question, version, &[0], 3);

    rig.facts = "one event failed";
    rig.look(4);
    assert_eq!(rig.due(4), [question]);
    rig.facts = "two events failed";
    rig.look(5);
    rig.finish(question, rig.version, &[0], 6);
    assert_eq!(rig.due(6), [question], "they changed while it was evaluated");
    rig.finish(question, rig.version, &[0], 6);
    rig.look(7);
    assert_eq!(rig.due(7), [0; 0]);

    rig.generation = 2;
    rig.version = 1;
    rig.look(8);
    assert_eq!(rig.looks_at[&question], Arc::default(), "what it looks at there is not known");
    assert_eq!(rig.due(8), [question]);
    rig.finish(question, rig.version, &[2], 8);
    rig.row(0);
    rig.look(9);
    assert_eq!(rig.due(9), [0; 0]);
}

#[test]
fn edges_wake_their_question_alone_and_once() {
    let (mut rig, question) = Rig::settled(0);
    let still = rig.open(METRIC, 1, 0);
    assert_eq!(rig.due(0), [still]);
    let outcome = |edge| LiveOutcome {
        version: 1,
        footprint: footprint(&[0]),
        edge: Some(edge),
        ..LiveOutcome::default()
    };
    let finished = rig.machine.finish(still, outcome(60_000), rig.start).unwrap();
    assert!(finished.urgent && rig.machine.next_edge() == Some(60_000));
    rig.look(1);
    assert_eq!(rig.due(1), [0; 0]);
    rig.machine.clock(59_999, rig.at(2));
    assert_eq!(rig.due(2), [0; 0]);
    rig.machine.clock(60_000, rig.at(3));
    assert_eq!((rig.machine.next_edge(), rig.due(3)), (None, vec![still]));
    let finished = rig.machine.finish(still, outcome(120_000), rig.at(4)).unwrap();
    assert_eq!(finished.woken, rig.at(3));
    rig.machine.clock(60_001, rig.at(5));
    assert_eq!(rig.due(5), [0; 0]);
    // One that is gone has no edge.
    rig.machine.close(still, Duration::ZERO);
    assert_eq!(rig.machine.next_edge(), None);
    assert_eq!(rig.machine.find(&METRIC.into(), &"0".into()), Some(question));
}

#[test]
fn a_question_without_an_answer_is_tried_again_each_second() {
    let (mut rig, question) = Rig::settled(10);
    rig.row(0);
    rig.look(1_000);
    assert_eq!(rig.due(1_000), [question]);
    let failed = || LiveOutcome { failed: true, ..LiveOutcome::default() };
    rig.machine.finish(question, failed(), rig.at(1_001)).unwrap();
    for ms in 1_001..1_010 {
        rig.row(3);
        rig.look(ms);
    }
    assert_eq!(rig.due(1_999), [0; 0]);
    assert_eq!(rig.due(2_000), [question]);
    rig.finish(question, rig.version, &[0], 2_000);
    rig.look(2_001);
    assert_eq!(rig.due(9_000), [0; 0], "it has an answer");
}

#[test]
fn rows_need_not_be_looked_at_while_every_question_waits() {
    let (mut rig, question) = Rig::settled(1_000);
    assert!(!rig.look(1), "one rests");
    rig.row(0);
    assert!(!rig.look(2));
    assert!(rig.look(3), "it waits");
    assert_eq!(rig.due(1_000), [question]);
    assert!(!rig.look(1_001), "it is evaluated, at a moment that may lack what comes");
}

#[test]
fn what_means_another_series_is_found_by_what_it_meant() {
    let (mut rig, question) = Rig::settled(0);
    assert!(rig.machine.following(METRIC).is_empty());
    rig.row(0);
    rig.look(1);
    assert_eq!(rig.due(1), [question]);
    let (version, meaning) = (rig.version, Some("a series".to_owned()));
    let outcome = LiveOutcome { version, meaning, ..LiveOutcome::default() };
    rig.machine.finish(question, outcome, rig.at(1)).unwrap();
    let following = rig.machine.following(METRIC);
    assert_eq!(following, [(question, Arc::new(0_u64.into()), "a series".to_owned())]);
}
