//! The laws that every metric must keep.
//!
//! ```ignore
//! #[test]
//! fn conforms() {
//!     tally_plugin::testkit::conforms::<MyMetric>(json!({}), &|schema, value| {
//!         let validator = jsonschema::validator_for(schema).map_err(|fault| fault.to_string())?;
//!         validator.validate(value).map_err(|fault| fault.to_string())
//!     });
//! }
//! ```

use super::cell::{CellState, Raw};
use super::events::{Event, Random, add_properties, day_of_events, random_events};
use super::question::ask;
use super::state::State;
use crate::description::{From, Merge};
use crate::metric::Metric;
use crate::read::Id;
use serde_json::Value;

/// Checks a value against a JSON Schema.
pub type Check<'a> = &'a dyn Fn(&Value, &Value) -> Result<(), String>;

/// Cases per law.
const SEEDS: u64 = 48;

/// Holds a metric to the laws, for one configuration:
/// `update` is pure and looks at each event alone; however the log is cut and ordered, the state is the same; merging
/// is associative, commutative and has an identity; odd events do no harm; the examples fit the params schema and are
/// answered; answers fit the result schema, before the first event too.
///
/// # Panics
/// If a law is broken; the text names law and seed.
pub fn conforms<M: Metric>(config: Value, check: Check<'_>) {
    let empty =
        || State::<M>::new(config.clone()).unwrap_or_else(|fault| panic!("the configuration is refused: {fault}"));
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut events = random_events(&mut random, 60);
        add_properties(&mut random, &empty().description().properties, &mut events);
        update_is_pure(&empty(), &events, seed);
        any_cut_gives_the_same_state(&empty, &events, &mut random, seed);
    }
    merges_are_closed(&empty(), &mut Random(7));
    let mut state = empty();
    examples_are_answered(&state, check, "before the first event");
    feed(&mut state, &day_of_events(), 0);
    examples_are_answered(&state, check, "over a day of events");
    let mut events = random_events(&mut Random(1), 300);
    add_properties(&mut Random(2), &state.description().properties, &mut events);
    feed(&mut state, &events, 1);
    examples_are_answered(&state, check, "over random events");
}

fn feed<M: Metric>(state: &mut State<M>, events: &[Event], seed: u64) {
    state.feed(events).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
}

fn update_is_pure<M: Metric>(state: &State<M>, events: &[Event], seed: u64) {
    let once = state.updated(events);
    assert_eq!(once, state.updated(events), "seed {seed}: the same batch twice gives different deltas");
    assert!(state.deltas(&[]).is_empty(), "an empty batch gives deltas");
}

fn any_cut_gives_the_same_state<M: Metric>(
    empty: &dyn Fn() -> State<M>,
    events: &[Event],
    random: &mut Random,
    seed: u64,
) {
    let mut whole = empty();
    feed(&mut whole, events, seed);

    let (mut cut, mut rest) = (empty(), events);
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
        feed(&mut cut, batch, seed);
        rest = after;
    }
    assert_eq!(whole.tables(), cut.tables(), "seed {seed}: cutting the log into other batches changes the state");

    let mut shuffled = events.to_vec();
    for n in (1..shuffled.len()).rev() {
        shuffled.swap(n, random.below(n as u64 + 1) as usize);
    }
    let mut other = empty();
    feed(&mut other, &shuffled, seed);
    assert_eq!(whole.tables(), other.tables(), "seed {seed}: another order of the events changes the state");
}

fn merges_are_closed<M: Metric>(state: &State<M>, random: &mut Random) {
    let cells = state.description().tables.iter().flat_map(|table| &table.cells);
    for cell in cells {
        let merge = cell.merge;
        let merged = |a: &CellState, b: &CellState| {
            let mut all = a.clone();
            all.merge(merge, b);
            all
        };
        for _ in 0..SEEDS {
            let [a, b, c] = [(); 3].map(|()| some_cell(merge, random));
            let (ab, ba) = (merged(&a, &b), merged(&b, &a));
            assert_eq!(ab.bytes(), ba.bytes(), "{}: not commutative", cell.name);
            let (left, right) = (merged(&ab, &c), merged(&a, &merged(&b, &c)));
            assert_eq!(left.bytes(), right.bytes(), "{}: not associative", cell.name);
            assert_eq!(merged(&CellState::empty(merge), &a).bytes(), a.bytes(), "{}: no identity", cell.name);
        }
        let fed_by_host = cell.from != From::Update;
        assert!(fed_by_host || !state.deltas(&day_of_events()).is_empty(), "{}: update never feeds it", cell.name);
    }
}

/// A cell that some values were given to.
fn some_cell(merge: Merge, random: &mut Random) -> CellState {
    let mut cell = CellState::empty(merge);
    for _ in 0..1 + random.below(6) {
        let number = Raw::Number(i128::from(random.below(1 << 40)) - (1 << 39));
        let text = Raw::Id(Id::Text(format!("text {}", random.below(9))));
        let raw = if random.below(3) == 0 && matches!(merge, Merge::Distinct | Merge::Latest) { text } else { number };
        let given = CellState::of(merge, &raw, random.below(5) as i64);
        given.iter().for_each(|given| cell.merge(merge, given));
    }
    cell
}

fn examples_are_answered<M: Metric>(state: &State<M>, check: Check<'_>, when: &str) {
    let description = state.description();
    assert!(!description.examples.is_empty(), "a metric has at least one example");
    for example in &description.examples {
        let (params, note) = (&example.params, &example.note);
        let own = own_params(params, description.time);
        check(&description.params_schema, &own)
            .unwrap_or_else(|fault| panic!("example \"{note}\" does not fit the params schema: {fault}"));
        let answer = state.answer(&ask(params.clone()));
        let answer = answer.unwrap_or_else(|refusal| panic!("example \"{note}\" is refused {when}: {refusal:?}"));
        check(&description.result_schema, &answer).unwrap_or_else(|fault| {
            panic!("the answer to \"{note}\" {when} does not fit the result schema: {fault}\n{answer:#}")
        });
        let again = state.answer(&ask(params.clone()));
        assert_eq!(again.ok().as_ref(), Some(&answer), "the same question twice is answered differently {when}");
    }
}

/// Without the time params, which are the host's.
fn own_params(params: &Value, time: bool) -> Value {
    let mut params = params.clone();
    if let (true, Some(object)) = (time, params.as_object_mut()) {
        for name in ["window", "from", "to", "bucket", "event_types"] {
            object.remove(name);
        }
    }
    params
}
