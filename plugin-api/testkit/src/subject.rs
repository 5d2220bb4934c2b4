//! What is held to the laws: a metric in this program, or one behind the boundary.

use tally_plugin::abi::{Columns, DeltaBuffer};
use tally_plugin::ask::{Ask, Reply};
use tally_plugin::batch::{Batch, Deltas};
use tally_plugin::description::{Description, Table};
use tally_plugin::metric::{self, Metric};
use tally_plugin::reader::{Reader, Source};

/// A metric as its host sees it: columns in and deltas out, questions in and replies out. Each
/// [`Metric`] is one.
pub trait Subject {
    /// What it says of itself, with its schemas.
    fn describe(&self) -> Description;

    /// Adds the deltas of a batch, and the keys of computed columns. `of`: the description.
    ///
    /// # Errors
    /// A sentence: it failed.
    fn update(
        &self,
        of: &Description,
        columns: &Columns<'_>,
        buffer: &mut DeltaBuffer,
    ) -> Result<(), String>;

    /// Answers a question.
    ///
    /// # Errors
    /// A sentence: it failed. A refusal is a reply.
    fn answer(&self, tables: &[Table], ask: Ask, source: Source<'_>) -> Result<Reply, String>;
}

impl<M: Metric> Subject for M {
    fn describe(&self) -> Description {
        metric::describe(self)
    }

    fn update(
        &self,
        of: &Description,
        columns: &Columns<'_>,
        buffer: &mut DeltaBuffer,
    ) -> Result<(), String> {
        let batch = Batch::new(columns, &of.properties);
        Metric::update(self, &batch, &mut Deltas::new(of, batch.len(), buffer));
        Ok(())
    }

    fn answer(&self, tables: &[Table], ask: Ask, source: Source<'_>) -> Result<Reply, String> {
        metric::answer(self, ask, &Reader::new(tables, source))
    }
}

impl Subject for Box<dyn Subject + '_> {
    fn describe(&self) -> Description {
        (**self).describe()
    }

    fn update(
        &self,
        of: &Description,
        columns: &Columns<'_>,
        buffer: &mut DeltaBuffer,
    ) -> Result<(), String> {
        (**self).update(of, columns, buffer)
    }

    fn answer(&self, tables: &[Table], ask: Ask, source: Source<'_>) -> Result<Reply, String> {
        (**self).answer(tables, ask, source)
    }
}
