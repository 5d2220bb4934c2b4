//! The laws that every metric must keep.
//!
//! ```ignore
//! #[test]
//! fn conforms_to_the_laws() {
//!     tally_testkit::conforms::<MyMetric>(json!({}), &tally_testkit::fits);
//! }
//! ```
//!
//! `tally plugin check` holds a built file to the same laws.

use super::cell::{CellState, Raw};
use super::events::{Event, Random, add_properties, day_of_events, odd_events, random_events};
use super::question::ask;
use super::state::{FAILED, State};
use super::subject::Subject;
use super::views::{Hints, hints};
use serde_json::{Value, json};
use tally_plugin::ask::Refusal;
use tally_plugin::description::{From, Merge};
use tally_plugin::metric::{self, Metric};
use tally_plugin::read::Id;

/// Checks a value against a JSON Schema.
pub type Check<'a> = &'a dyn Fn(&Value, &Value) -> Result<(), String>;

/// Cases per law.
const SEEDS: u64 = 48;

/// A metric on trial, with one configuration.
pub struct Trial<'a> {
    /// Makes it anew, as a restarted host would.
    pub make: &'a dyn Fn() -> Result<Box<dyn Subject + 'a>, String>,
    /// Checks a value against a schema.
    pub check: Check<'a>,
}

/// One law.
#[derive(Clone, Copy)]
pub struct Law {
    /// Under which reports and documents name it.
    pub name: &'static str,
    /// What it demands.
    pub demands: &'static str,
    hold: fn(&Trial<'_>) -> Held,
}

/// What was looked at; or in which way the law is broken.
type Held = Result<String, String>;

/// All laws, in the order in which a report shows them.
pub const LAWS: [Law; 8] = [
    Law { name: "params", demands: "unknown params are refused by the schema", hold: params },
    Law {
        name: "examples",
        demands: "examples are valid and answered, answers fit the result schema",
        hold: examples,
    },
    Law {
        name: "views",
        demands: "hints on how the result is shown fit the result schema",
        hold: views,
    },
    Law {
        name: "purity",
        demands: "the same input gives the same output, whatever was before",
        hold: purity,
    },
    Law {
        name: "split",
        demands: "cutting the log into other batches does not change the state",
        hold: split,
    },
    Law {
        name: "order",
        demands: "another order of the events does not change the state",
        hold: order,
    },
    Law {
        name: "merges",
        demands: "merges are associative and commutative, and every cell is fed",
        hold: merges,
    },
    Law { name: "odd_events", demands: "odd events do no harm", hold: odd },
];

impl Law {
    /// Holds a metric to it: what was looked at, as a sentence.
    ///
    /// # Errors
    /// A sentence: in which way the law is broken.
    pub fn hold(&self, trial: &Trial<'_>) -> Result<String, String> {
        (self.hold)(trial)
    }
}

/// Holds a metric to all [`LAWS`], for one configuration.
///
/// # Panics
/// If laws are broken; the text names all of them, with the seed.
pub fn conforms<M: Metric>(config: Value, check: Check<'_>) {
    let text = config.to_string();
    let make = || metric::create::<M>(&text).map(|metric| Box::new(metric) as Box<dyn Subject>);
    let trial = Trial { make: &make, check };
    let broken = LAWS
        .iter()
        .filter_map(|law| law.hold(&trial).err().map(|how| format!("{}: {how}", law.name)));
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "broken laws:\n{}", broken.join("\n"));
}

impl<'a> Trial<'a> {
    /// A metric made anew that has counted nothing.
    fn empty(&self) -> Result<State<Box<dyn Subject + 'a>>, String> {
        (self.make)()
            .map(State::of)
            .map_err(|fault| format!("the configuration is refused: {fault}"))
    }

    fn counted(&self, events: &[Event]) -> Result<State<Box<dyn Subject + 'a>>, String> {
        let mut state = self.empty()?;
        state.feed(events)?;
        Ok(state)
    }
}

/// Runs a law for each seed.
fn for_seeds(law: impl Fn(Random) -> Result<(), String>) -> Result<(), String> {
    (0..SEEDS).try_for_each(|seed| law(Random(seed)).map_err(|how| format!("seed {seed}: {how}")))
}

/// Random events with random values of the properties that a metric declares.
fn logged<S: Subject>(of: &State<S>, random: &mut Random, count: usize) -> Vec<Event> {
    let mut events = random_events(random, count);
    add_properties(random, &of.description().properties, &mut events);
    events
}

fn same<T: PartialEq>(a: &T, b: &T, otherwise: &str) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(otherwise.into()) }
}

fn params(trial: &Trial<'_>) -> Held {
    let description = trial.empty()?.description().clone();
    let unknown = json!({"no_such_param": 1});
    match (trial.check)(&description.params_schema, &unknown) {
        Err(_) => Ok("unknown ones are refused".into()),
        Ok(()) => Err("the schema accepts unknown params: a typo would be ignored".into()),
    }
}

fn examples(trial: &Trial<'_>) -> Held {
    let mut state = trial.empty()?;
    answered(&state, trial.check, "before the first event")?;
    state.feed(&day_of_events())?;
    answered(&state, trial.check, "over a day of events")?;
    let events = logged(&state, &mut Random(1), 300);
    state.feed(&events)?;
    answered(&state, trial.check, "over random events")?;
    Ok(format!(
        "{} examples answered, before the first event too",
        state.description().examples.len()
    ))
}

fn views(trial: &Trial<'_>) -> Held {
    let Hints { found, faults } = hints(&trial.empty()?.description().result_schema);
    match (found, faults.as_slice()) {
        (0, _) => Ok("no hints: what is drawn follows from the result schema".into()),
        (found, []) => Ok(format!("{found} hints on how the result is shown")),
        (_, faults) => Err(format!("in the result schema: {}", faults.join("; "))),
    }
}

fn purity(trial: &Trial<'_>) -> Held {
    let empty = trial.empty()?;
    for_seeds(|mut random| {
        let events = logged(&empty, &mut random, 60);
        let used = trial.counted(&events)?;
        let once = used.updated(&events)?;
        same(&once, &used.updated(&events)?, "the same batch twice gives different deltas")?;
        same(&once, &trial.empty()?.updated(&events)?, "deltas depend on what was counted before")?;
        same(&used.deltas(&[])?, &vec![], "an empty batch gives deltas")
    })?;
    let (used, other) = (trial.counted(&day_of_events())?, trial.counted(&day_of_events())?);
    for example in &used.description().examples {
        let answers =
            [&used, &used, &other].map(|state| state.answer(&ask(example.params.clone())));
        let what = format!(
            "the question \"{}\" gets a different answer when it is asked again",
            example.note
        );
        same(&answers[0], &answers[1], &what)?;
        same(&answers[0], &answers[2], &format!("{what}, of a metric made anew"))?;
    }
    Ok(format!("{SEEDS} logs counted twice, each example asked three times"))
}

fn split(trial: &Trial<'_>) -> Held {
    let empty = trial.empty()?;
    for_seeds(|mut random| {
        let events = logged(&empty, &mut random, 60);
        let (whole, mut cut, mut rest) =
            (trial.counted(&events)?, trial.empty()?, events.as_slice());
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
            cut.feed(batch)?;
            rest = after;
        }
        same(&whole.tables(), &cut.tables(), "cutting the log into other batches changes the state")
    })?;
    Ok(format!("{SEEDS} logs, whole and cut at random"))
}

fn order(trial: &Trial<'_>) -> Held {
    let empty = trial.empty()?;
    for_seeds(|mut random| {
        let mut events = logged(&empty, &mut random, 60);
        let whole = trial.counted(&events)?;
        for n in (1..events.len()).rev() {
            events.swap(n, random.below(n as u64 + 1) as usize);
        }
        same(
            &whole.tables(),
            &trial.counted(&events)?.tables(),
            "another order of the events changes the state",
        )
    })?;
    Ok(format!("{SEEDS} logs, in order and shuffled"))
}

fn merges(trial: &Trial<'_>) -> Held {
    let (state, mut random) = (trial.empty()?, Random(7));
    let cells: Vec<_> = state.description().tables.iter().flat_map(|table| &table.cells).collect();
    let fed =
        !state.deltas(&[day_of_events(), logged(&state, &mut random, 60)].concat())?.is_empty();
    for cell in &cells {
        let of = |how: &str| format!("cell {}: {how}", cell.name);
        let merged = |a: &CellState, b: &CellState| {
            let mut all = a.clone();
            all.merge(cell.merge, b);
            all.bytes()
        };
        let whole = |a: &CellState, b: &CellState, c: &CellState| {
            let mut all = a.clone();
            all.merge(cell.merge, b);
            merged(&all, c)
        };
        for _ in 0..SEEDS {
            let [a, b, c] = [(); 3].map(|()| some_cell(cell.merge, &mut random));
            same(&merged(&a, &b), &merged(&b, &a), &of("its merge is not commutative"))?;
            // With the above, (b + c) + a is a + (b + c).
            same(&whole(&a, &b, &c), &whole(&b, &c, &a), &of("its merge is not associative"))?;
            same(
                &merged(&CellState::empty(cell.merge), &a),
                &a.bytes(),
                &of("its merge has no identity"),
            )?;
        }
        if cell.from == From::Update && !fed {
            return Err(of("update never feeds it"));
        }
    }
    Ok(format!("{} cells", cells.len()))
}

/// A cell that some values were given to.
fn some_cell(merge: Merge, random: &mut Random) -> CellState {
    let mut cell = CellState::empty(merge);
    for _ in 0..1 + random.below(6) {
        let number = Raw::Number(i128::from(random.below(1 << 40)) - (1 << 39));
        let text = Raw::Id(Id::Text(format!("text {}", random.below(9))));
        let raw = if random.below(3) == 0 && matches!(merge, Merge::Distinct | Merge::Latest) {
            text
        } else {
            number
        };
        let given = CellState::of(merge, &raw, random.below(5) as i64);
        given.iter().for_each(|given| cell.merge(merge, given));
    }
    cell
}

fn odd(trial: &Trial<'_>) -> Held {
    let empty = trial.empty()?;
    for_seeds(|mut random| {
        let mut events = odd_events(&mut random, 200);
        add_properties(&mut random, &empty.description().properties, &mut events);
        let state = trial.counted(&events)?;
        answered(&state, trial.check, "over odd events")
    })?;
    Ok(format!("{} of them counted and asked for", SEEDS * 200))
}

fn answered(
    state: &State<Box<dyn Subject + '_>>,
    check: Check<'_>,
    when: &str,
) -> Result<(), String> {
    let description = state.description();
    if description.examples.is_empty() {
        return Err("there is none, but a metric has at least one".into());
    }
    for example in &description.examples {
        let (params, note) = (&example.params, &example.note);
        check(&description.params_schema, &own_params(params, description.time)).map_err(
            |fault| format!("example \"{note}\" does not fit the params schema: {fault}"),
        )?;
        let answer = state
            .answer(&ask(params.clone()))
            .map_err(|refusal| not_answered(note, when, &refusal))?;
        check(&description.result_schema, &answer).map_err(|fault| {
            format!("the answer to \"{note}\" {when} does not fit the result schema: {fault}")
        })?;
    }
    Ok(())
}

fn not_answered(note: &str, when: &str, refusal: &Refusal) -> String {
    let said: Vec<&str> = refusal.errors.iter().map(|fault| fault.detail.as_str()).collect();
    let how = if refusal.code == FAILED { "fails" } else { "is refused" };
    format!("example \"{note}\" {how} {when}: {}", said.join("; "))
}

/// Without the time params, which are the host's.
pub(super) fn own_params(params: &Value, time: bool) -> Value {
    let mut params = params.clone();
    if let (true, Some(object)) = (time, params.as_object_mut()) {
        for name in ["window", "from", "to", "bucket", "event_types"] {
            object.remove(name);
        }
    }
    params
}

#[cfg(test)]
#[path = "conformance_tests.rs"]
mod tests;
