//! What an answer was read from: the rows that the plugin's reads looked at. While none of them
//! changes, and the question means the same window, the same answer would be given.
//!
//! A footprint is noted where the reads are executed, so that each answer has one, whoever asked.
//! One of many reads or ids, and one that says too little, is everything of the metric: correct,
//! and dearer.

use crate::state::Interest;
use std::cell::{Cell, RefCell};
use tally_plugin::description::Table;
use tally_plugin::read::{Id, ReadRequest};

/// Different reads of one answer at most.
const READS: usize = 64;

/// Bytes that their filters take at most.
const BYTES: usize = 16 << 10;

/// What an answer was read from; by default everything of its metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Footprint(Option<Vec<Interest>>);

impl Footprint {
    /// What was looked at; `None`: everything of the metric.
    #[must_use]
    pub fn interests(&self) -> Option<&[Interest]> {
        self.0.as_deref()
    }

    /// Bytes that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().flatten().map(bytes).sum()
    }
}

/// Notes the reads of one answer.
pub(super) struct FootprintNotes<'a> {
    tables: &'a [Table],
    noted: RefCell<Option<Vec<Interest>>>,
    bytes: Cell<usize>,
}

impl<'a> FootprintNotes<'a> {
    /// Of a metric with these tables.
    pub(super) fn new(tables: &'a [Table]) -> FootprintNotes<'a> {
        FootprintNotes { tables, noted: RefCell::new(Some(Vec::new())), bytes: Cell::new(0) }
    }

    /// Notes a read.
    pub(super) fn note(&self, request: &ReadRequest) {
        // A read of another table is refused.
        let Some(table) = self.tables.iter().position(|table| table.name == request.table) else {
            return;
        };
        let ReadRequest { from, to, only, .. } = request;
        let interest = Interest { table: table as u16, from: *from, to: *to, only: only.clone() };
        let mut noted = self.noted.borrow_mut();
        let Some(all) = noted.as_mut() else { return };
        if all.contains(&interest) {
            return;
        }
        let sum = self.bytes.get() + bytes(&interest);
        if all.len() == READS || sum > BYTES {
            *noted = None;
            return;
        }
        self.bytes.set(sum);
        all.push(interest);
    }

    /// The answer rests on more than can be said.
    pub(super) fn note_everything(&self) {
        *self.noted.borrow_mut() = None;
    }

    /// What was noted.
    pub(super) fn footprint(&self) -> Footprint {
        Footprint(self.noted.borrow().clone())
    }
}

fn bytes(interest: &Interest) -> usize {
    let id = |id: &Id| match id {
        Id::Integer(_) => size_of::<Id>(),
        Id::Text(text) => size_of::<Id>() + text.len(),
    };
    let ids: usize = interest.only.iter().flat_map(|only| &only.ids).map(id).sum();
    size_of::<Interest>() + interest.only.len() * 64 + ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_plugin::description::Key;
    use tally_plugin::read::Only;

    fn table(name: &str) -> Table {
        let (key, cells) = (vec![Key::UserId], Vec::new());
        Table { name: name.into(), key, group: 0, only: Vec::new(), cells, tiers: Vec::new() }
    }

    fn request(table: &str, users: u64) -> ReadRequest {
        let ids = (0..users).map(|user| Id::Text(format!("user-{user}"))).collect();
        let only = vec![Only { column: Key::UserId, ids }];
        ReadRequest { table: table.into(), from: Some(60_000), only, ..ReadRequest::default() }
    }

    #[test]
    fn each_read_is_noted_once_with_table_range_and_filters() {
        let tables = [table("a"), table("b")];
        let notes = FootprintNotes::new(&tables);
        assert_eq!(notes.footprint().interests(), Some(&[][..]), "it reads nothing");
        for request in [request("b", 2), request("b", 2), request("a", 1), request("c", 1)] {
            notes.note(&request);
        }
        let footprint = notes.footprint();
        let noted = footprint.interests().unwrap_or_default();
        let tables: Vec<u16> = noted.iter().map(|interest| interest.table).collect();
        assert_eq!(tables, [1, 0]);
        assert_eq!((noted[0].from, noted[0].to), (Some(60_000), None));
        assert_eq!(noted[0].only, request("b", 2).only);
        assert!(footprint.bytes() > 0);
        notes.note_everything();
        assert_eq!(notes.footprint(), Footprint::default());
    }

    #[test]
    fn many_reads_or_ids_are_everything() {
        let tables = [table("a")];
        let notes = FootprintNotes::new(&tables);
        for n in 0..READS as i64 {
            notes.note(&ReadRequest { from: Some(n), ..request("a", 1) });
        }
        assert_eq!(notes.footprint().interests().map(<[Interest]>::len), Some(READS));
        notes.note(&ReadRequest { from: None, ..request("a", 1) });
        assert_eq!(notes.footprint().interests(), None);

        let notes = FootprintNotes::new(&tables);
        notes.note(&request("a", 200));
        assert!(notes.footprint().bytes() <= BYTES && notes.footprint().interests().is_some());
        notes.note(&request("a", 2_000));
        assert_eq!(notes.footprint().interests(), None);
    }
}
