//! Each law finds who breaks it, and nobody else: metrics that break one law each, on purpose.
#![allow(clippy::panic)] // one of them must panic

use super::super::fits::fits;
use super::*;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use tally_plugin::prelude::*;

/// Breaks the law that its configuration names.
struct Outlaw {
    breaks: String,
    calls: AtomicI64,
}

#[config]
struct Config {
    #[serde(default)]
    breaks: String,
}

#[params]
struct Params {
    #[serde(default)]
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

#[answer]
struct Answer {
    #[schemars(range(min = 0))]
    n: i64,
}

impl tally_plugin::Metric for Outlaw {
    const ABOUT: About = about!("outlaw", revision = 1);
    type Config = Config;
    type Params = Params;
    type Answer = Answer;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Outlaw { breaks: config.breaks, calls: AtomicI64::new(0) })
    }

    fn describe(&self) -> Description {
        let limit = if self.breaks == "examples" { 0 } else { 1 };
        let described =
            Description::new("Breaks laws").table(table("t").key([USER_ID]).cell("n", sum(UPDATE)));
        described.example(json!({"limit": limit}), "one")
    }

    fn update(&self, batch: &Batch<'_>, deltas: &mut Deltas<'_>) {
        let n = deltas.cell("t", "n");
        let call = self.calls.fetch_add(1, Relaxed);
        for row in 0..batch.len() {
            let value = match self.breaks.as_str() {
                "purity" => call,
                // The first of a batch counts double.
                "split" if row == 0 => 2,
                // What came before it decides.
                "order" if row > 0 && batch.times()[row] < batch.times()[row - 1] => 2,
                "merges" => continue,
                "odd_events" if batch.times()[row] < 0 => panic!("before 1970"),
                _ => 1,
            };
            deltas.merge(row, n, value);
        }
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<Answer, Refusal> {
        let n = read.table("t").run()?.total().count("n") as i64;
        Ok(Answer { n: n.min(asked.params.limit.unwrap_or(1) as i64) })
    }
}

/// The laws that one breaks.
fn broken(breaks: &str) -> Vec<&'static str> {
    let config = json!({"breaks": breaks}).to_string();
    let make =
        || metric::create::<Outlaw>(&config).map(|metric| Box::new(metric) as Box<dyn Subject>);
    // A schema that takes anything breaks the law of params.
    let check = |schema: &Value, value: &Value| {
        if breaks == "params" { Ok(()) } else { fits(schema, value) }
    };
    let trial = Trial { make: &make, check: &check };
    let holds = |law: &Law| {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| law.hold(&trial)));
        held.is_ok_and(|held| held.is_ok())
    };
    LAWS.iter().filter(|law| !holds(law)).map(|law| law.name).collect()
}

#[test]
fn a_metric_that_keeps_the_laws_passes() {
    assert_eq!(broken(""), Vec::<&str>::new());
    conforms::<Outlaw>(json!({}), &fits);
}

#[test]
fn params_that_take_anything_are_found() {
    assert_eq!(broken("params"), ["params"]);
}

#[test]
fn examples_that_do_not_fit_are_found() {
    // They are asked for over odd events as well.
    assert_eq!(broken("examples"), ["examples", "odd_events"]);
}

/// Its hint is that a number is a list.
struct Misdrawn;

#[answer]
struct Drawn {
    #[schemars(extend("x-tally-view" = {"as": "table", "title": "Rows"}))]
    n: u64,
}

impl tally_plugin::Metric for Misdrawn {
    const ABOUT: About = about!("misdrawn", revision = 1);
    type Config = ();
    type Params = ();
    type Answer = Drawn;

    fn new((): ()) -> Result<Self, String> {
        Ok(Misdrawn)
    }

    fn describe(&self) -> Description {
        Description::new("Counts").table(table("t").cell("n", sum(ONE))).example(json!({}), "all")
    }

    fn answer(&self, _: &Request<()>, read: &Reader<'_>) -> Result<Drawn, Refusal> {
        Ok(Drawn { n: read.table("t").run()?.total().count("n") })
    }
}

#[test]
#[should_panic(
    expected = "views: in the result schema: /properties/n/x-tally-view: as is \"table\""
)]
fn hints_that_do_not_fit_are_found() {
    conforms::<Misdrawn>(json!({}), &fits);
}

#[test]
fn memory_of_earlier_calls_is_found() {
    assert!(broken("purity").contains(&"purity"));
}

#[test]
fn a_batch_that_means_something_is_found() {
    assert!(broken("split").contains(&"split"));
    assert!(!broken("split").contains(&"purity"));
}

#[test]
fn an_order_that_means_something_is_found() {
    assert!(broken("order").contains(&"order"));
    assert!(!broken("order").contains(&"purity"));
}

#[test]
fn a_cell_that_is_never_fed_is_found() {
    assert_eq!(broken("merges"), ["merges"]);
}

#[test]
fn a_panic_over_odd_events_is_found() {
    assert_eq!(broken("odd_events"), ["odd_events"]);
}

#[test]
#[should_panic(expected = "purity: seed 0: the same batch twice gives different deltas")]
fn what_is_broken_is_named_with_its_seed() {
    conforms::<Outlaw>(json!({"breaks": "purity"}), &fits);
}
