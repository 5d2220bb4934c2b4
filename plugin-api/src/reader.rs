//! How a metric reads its tables: a query in words, and views of what was found.
//!
//! `read.table("t").within(asked.window).group_by([PRODUCT_ID]).part_by([EVENT_TYPE]).run()?`
//! aggregates the rows that match, by group, and within a group by part. A query may block and may
//! fail: pass its error on with `?`.

use crate::ask::{Fault, Refusal, Steps, Window};
use crate::description::{Key, Merge, Table};
use crate::read::{
    self, Id, Measure, Only, Order, Rank, ReadAnswer, ReadRequest, Scalar, Step, Weights,
};
use std::collections::BTreeMap;

/// Code of the refusal that a failed read becomes. The host knows why it failed and answers with
/// that.
pub const READ_FAILED: &str = "read_failed";

/// What executes a read.
pub type Source<'a> = &'a dyn Fn(&ReadRequest) -> Result<ReadAnswer, String>;

/// Reads the metric's tables, all at one position of the log.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    tables: &'a [Table],
    source: Source<'a>,
}

impl<'a> Reader<'a> {
    /// A reader of these tables. Metrics are given one.
    #[must_use]
    pub fn new(tables: &'a [Table], source: Source<'a>) -> Self {
        Reader { tables, source }
    }

    /// Starts a query of one table. Without further words: one group of everything, in one part.
    pub fn table(&self, name: &str) -> Query<'a> {
        let cells =
            self.tables.iter().find(|table| table.name == name).map(|table| {
                table.cells.iter().map(|cell| (cell.name.clone(), cell.merge)).collect()
            });
        let request = ReadRequest { table: name.into(), ..ReadRequest::default() };
        Query { source: self.source, cells: cells.unwrap_or_default(), steps: None, request }
    }
}

/// Names and merges of a table's cells.
type Cells = Vec<(String, Merge)>;

/// A query that is being put into words.
#[must_use]
#[derive(Clone)]
pub struct Query<'a> {
    source: Source<'a>,
    cells: Cells,
    steps: Option<Steps>,
    request: ReadRequest,
}

impl Query<'_> {
    /// Only what happened in this time.
    pub fn within(mut self, window: Window) -> Self {
        (self.request.from, self.request.to) = (window.from, window.to);
        self
    }

    /// Only rows with one of these ids in a key column.
    pub fn only<I: Into<Id>>(mut self, column: Key, ids: impl IntoIterator<Item = I>) -> Self {
        self.request.only.push(Only { column, ids: ids.into_iter().map(Into::into).collect() });
        self
    }

    /// Only rows of these event types; `None` means all. The table must have `EVENT_TYPE` in its
    /// key.
    pub fn only_types(self, types: Option<&[String]>) -> Self {
        match types {
            Some(types) => self.only(Key::EventType, types.iter().cloned().map(Id::Text)),
            None => self,
        }
    }

    /// One group for each combination of ids in these key columns.
    pub fn group_by(mut self, columns: impl IntoIterator<Item = Key>) -> Self {
        self.request.group_by = columns.into_iter().collect();
        self
    }

    /// Groups, and the total, are broken down by these key columns.
    pub fn part_by(mut self, columns: impl IntoIterator<Item = Key>) -> Self {
        self.request.part_by = columns.into_iter().collect();
        self
    }

    /// The `limit` groups with the largest measures; the first measure decides, then the next; ties
    /// go to the lower id.
    pub fn top(self, limit: usize, by: impl IntoIterator<Item = Measure>) -> Self {
        self.rank(Order::Desc, limit, by)
    }

    /// The `limit` groups with the smallest measures; ties go to the lower id.
    pub fn bottom(self, limit: usize, by: impl IntoIterator<Item = Measure>) -> Self {
        self.rank(Order::Asc, limit, by)
    }

    /// As [`Query::top`] or [`Query::bottom`].
    pub fn rank(
        mut self,
        order: Order,
        limit: usize,
        by: impl IntoIterator<Item = Measure>,
    ) -> Self {
        self.request.rank = Some(Rank { by: by.into_iter().collect(), order, limit });
        self
    }

    /// Groups carry a series on this grid; `None` means no series.
    pub fn steps(mut self, steps: Option<Steps>) -> Self {
        self.request.step_ms = steps.map(|steps| steps.step_ms);
        self.steps = steps;
        self
    }

    /// These quantiles (0 to 1) of each `quantiles` cell; [`Parts::quantiles`] tells them.
    pub fn quantiles(mut self, of: impl IntoIterator<Item = f64>) -> Self {
        self.request.quantiles = of.into_iter().collect();
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// The read failed (deadline, store, a query of what is not declared). To be passed on with
    /// `?`.
    pub fn run(self) -> Result<Found, Refusal> {
        let failed = |detail| Refusal {
            code: READ_FAILED.into(),
            errors: vec![Fault { pointer: String::new(), detail }],
        };
        let answer = (self.source)(&self.request).map_err(failed)?;
        Ok(Found { answer, cells: self.cells, steps: self.steps })
    }
}

/// A cell as a measure of groups.
#[must_use]
pub fn measure(cell: &str) -> Measure {
    Measure { cell: cell.into(), weights: None }
}

/// The sum of a cell, weighted by event type; types that are not named weigh `other`.
#[must_use]
pub fn weighted(cell: &str, of: BTreeMap<String, i64>, other: i64) -> Measure {
    Measure { cell: cell.into(), weights: Some(Weights { column: Key::EventType, of, other }) }
}

/// What a query found.
#[derive(Clone, Debug)]
pub struct Found {
    answer: ReadAnswer,
    cells: Cells,
    steps: Option<Steps>,
}

impl Found {
    /// Everything that matched, also what a limit cut off.
    #[must_use]
    pub fn total(&self) -> Parts<'_> {
        Parts { parts: &self.answer.total, cells: &self.cells }
    }

    /// Number of groups that have anything, before the limit.
    #[must_use]
    pub fn groups_total(&self) -> u64 {
        self.answer.groups_total
    }

    /// The groups, in the order asked for; by lower id where none was.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.answer.groups.iter().map(|group| Group {
            key: &group.key,
            found: self,
            group: Some(group),
        })
    }

    /// The group of an id, an empty one where nothing matched. For queries grouped by one column.
    #[must_use]
    pub fn group<'f>(&'f self, id: &'f Id) -> Group<'f> {
        let key = std::slice::from_ref(id);
        let group = self.answer.groups.iter().find(|group| group.key == key);
        Group { key, found: self, group }
    }

    /// The series of a query without `group_by`, zero-filled.
    pub fn series(&self) -> impl Iterator<Item = StepView<'_>> {
        let group = self.answer.groups.first().filter(|group| group.key.is_empty());
        Group { key: &[], found: self, group }.series()
    }
}

/// One group.
#[derive(Clone, Copy, Debug)]
pub struct Group<'f> {
    key: &'f [Id],
    found: &'f Found,
    group: Option<&'f read::GroupAnswer>,
}

impl<'f> Group<'f> {
    /// Its id; of several `group_by` columns the first.
    ///
    /// # Panics
    /// In a query without `group_by`. The host turns that into a failure of the plugin.
    #[must_use]
    pub fn id(&self) -> Id {
        self.key(0).clone()
    }

    /// Its id in the n-th column of `group_by`.
    ///
    /// # Panics
    /// If there are fewer columns.
    #[must_use]
    pub fn key(&self, n: usize) -> &'f Id {
        self.key.get(n).unwrap_or_else(|| panic!("the query has no group_by column {n}"))
    }

    /// Its n-th measure; 0 for an empty group.
    #[must_use]
    pub fn measure(&self, n: usize) -> i128 {
        self.group.and_then(|group| group.measures.get(n)).copied().unwrap_or(0)
    }

    /// What it consists of.
    #[must_use]
    pub fn parts(&self) -> Parts<'f> {
        Parts { parts: self.group.map_or(&[], |group| &group.parts), cells: &self.found.cells }
    }

    /// Its series, zero-filled over the grid asked for; empty where none was.
    pub fn series(&self) -> impl Iterator<Item = StepView<'f>> + use<'f> {
        let cells = self.found.cells.as_slice();
        let steps: &'f [Step] = self.group.map_or(&[], |group| &group.series);
        self.found.steps.into_iter().flat_map(|grid| grid.iter()).map(move |(start, partial)| {
            let parts = match steps.binary_search_by_key(&start, |step| step.start) {
                Ok(at) => steps[at].parts.as_slice(),
                Err(_) => &[],
            };
            StepView { start, partial, parts: Parts { parts, cells } }
        })
    }
}

/// One step of a series.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'f> {
    /// Start, Unix milliseconds.
    pub start: i64,
    /// Whether the window cuts it.
    pub partial: bool,
    /// What happened in it.
    pub parts: Parts<'f>,
}

/// Parts of a group, of a step or of everything: a row of cells for each combination of `part_by`
/// ids.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'f> {
    parts: &'f [read::Part],
    cells: &'f [(String, Merge)],
}

impl<'f> Parts<'f> {
    /// Whether nothing matched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Id in the first `part_by` column and value of a cell, part by part.
    ///
    /// # Panics
    /// If the table declares no such cell, or the query has no `part_by`. The host turns that into
    /// a failure of the plugin.
    pub fn each(&self, cell: &str) -> impl Iterator<Item = (&'f Id, i128)> + use<'f> {
        let at = self.at(cell);
        self.parts.iter().map(move |part| {
            let id = part.key.first().unwrap_or_else(|| panic!("the query has no part_by"));
            (id, part.cells.get(at).copied().unwrap_or(0))
        })
    }

    /// Sum of a cell over the parts.
    ///
    /// # Panics
    /// If the table declares no such cell.
    #[must_use]
    pub fn sum(&self, cell: &str) -> i128 {
        self.numbers(cell).fold(0, i128::saturating_add)
    }

    /// Smallest value of a cell; `None` where there is none.
    ///
    /// # Panics
    /// If the table declares no such cell.
    #[must_use]
    pub fn min(&self, cell: &str) -> Option<i128> {
        self.numbers(cell).min().filter(|value| *value != i128::MAX)
    }

    /// Largest value of a cell; `None` where there is none.
    ///
    /// # Panics
    /// If the table declares no such cell.
    #[must_use]
    pub fn max(&self, cell: &str) -> Option<i128> {
        self.numbers(cell).max().filter(|value| *value != i128::MIN)
    }

    /// A sum as a count of events.
    ///
    /// # Panics
    /// If the table declares no such cell.
    #[must_use]
    pub fn count(&self, cell: &str) -> u64 {
        self.sum(cell).clamp(0, u64::MAX.into()) as u64
    }

    /// Counts by the text of the first `part_by` column: `{"buy": 2, "view": 8}`.
    ///
    /// # Panics
    /// As [`Parts::each`].
    #[must_use]
    pub fn counts(&self, cell: &str) -> BTreeMap<String, u64> {
        let count = |value: i128| value.clamp(0, u64::MAX.into()) as u64;
        self.each(cell).map(|(id, value)| (id.text().into_owned(), count(value))).collect()
    }

    /// Part by part: the ids of the `part_by` columns, and the part on its own.
    pub fn split(&self) -> impl Iterator<Item = (&'f [Id], Parts<'f>)> + use<'f> {
        let cells = self.cells;
        self.parts.iter().map(move |part| {
            (part.key.as_slice(), Parts { parts: std::slice::from_ref(part), cells })
        })
    }

    /// Number of different values in a `distinct` cell, about. What is broken down has no such
    /// number as a whole, since the same values may be in several parts: take the parts by
    /// [`Parts::split`], or ask without `part_by`.
    ///
    /// # Panics
    /// If the table declares no such cell, or there are several parts.
    #[must_use]
    pub fn distinct(&self, cell: &str) -> u64 {
        let at = self.at_of(cell, Merge::Distinct);
        self.one(cell)
            .and_then(|part| part.cells.get(at))
            .map_or(0, |value| (*value).clamp(0, u64::MAX.into()) as u64)
    }

    /// Number of values that a `quantiles` cell has seen.
    ///
    /// # Panics
    /// If the table declares no such cell.
    #[must_use]
    pub fn values(&self, cell: &str) -> u64 {
        let at = self.at_of(cell, Merge::Quantiles);
        let seen = |part: &read::Part| {
            part.cells.get(at).map_or(0, |value| (*value).clamp(0, u64::MAX.into()) as u64)
        };
        self.parts.iter().map(seen).fold(0, u64::saturating_add)
    }

    /// The quantiles asked for, of a `quantiles` cell; none where it has no values. Of a decimal
    /// times its scale.
    ///
    /// # Panics
    /// As [`Parts::distinct`].
    #[must_use]
    pub fn quantiles(&self, cell: &str) -> &'f [f64] {
        let place = self.place_of(cell, Merge::Quantiles);
        self.one(cell).and_then(|part| part.quantiles.get(place)).map_or(&[], Vec::as_slice)
    }

    /// The value of a `latest` cell and when it was given (Unix milliseconds); `None` where there
    /// is none.
    ///
    /// # Panics
    /// As [`Parts::distinct`].
    #[must_use]
    pub fn latest(&self, cell: &str) -> Option<(i64, &'f Scalar)> {
        let (at, place) = (self.at(cell), self.place_of(cell, Merge::Latest));
        let part = self.one(cell)?;
        let time = part.cells.get(at).map_or(0, |time| *time as i64);
        part.latest.get(place)?.as_ref().map(|value| (time, value))
    }

    fn one(&self, cell: &str) -> Option<&'f read::Part> {
        assert!(
            self.parts.len() < 2,
            "cell {cell} cannot be combined over several parts: query without part_by, or use split"
        );
        self.parts.first()
    }

    fn at_of(&self, cell: &str, merge: Merge) -> usize {
        let at = self.at(cell);
        assert!(self.cells[at].1 == merge, "cell {cell} is not a {merge:?} cell");
        at
    }

    /// The place of a cell among those of its merge.
    fn place_of(&self, cell: &str, merge: Merge) -> usize {
        let at = self.at_of(cell, merge);
        self.cells[..at].iter().filter(|(_, other)| *other == merge).count()
    }

    fn numbers(&self, cell: &str) -> impl Iterator<Item = i128> + use<'f> {
        let at = self.at(cell);
        self.parts.iter().filter_map(move |part| part.cells.get(at).copied())
    }

    fn at(&self, cell: &str) -> usize {
        let at = self.cells.iter().position(|(name, _)| name == cell);
        at.unwrap_or_else(|| panic!("the table declares no cell {cell}"))
    }
}
