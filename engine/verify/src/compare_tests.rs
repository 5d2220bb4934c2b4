//! Made-up states: what is equal, and how each way of being wrong is named.
//!
//! Over 480 lines: one made-up table, and each way of being wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::held::Found;
use super::super::panes::{Length, Panes};
use super::super::property::Scalar;
use super::super::record::Event;
use super::super::types::TypeRule;
use super::*;
use serde_json::json;
use std::collections::BTreeMap;

/// Users by type: a count, and the first of them.
fn table(cells: Value) -> Table {
    let description = json!({"name": "t", "key": ["user_id", "event_type"], "only": ["view", "buy"], "cells": cells});
    Table::new(
        serde_json::from_value(description).unwrap(),
        Panes::default(),
        BTreeMap::new(),
        TypeRule::default(),
    )
}

fn counted() -> Table {
    let cells = json!([{"name": "n", "merge": "sum", "from": "one"}, {"name": "first", "merge": "min", "from": "event_time"}]);
    let mut table = table(cells);
    for (user, kind, time) in [
        (json!(1), "view", 5),
        (json!(1), "view", 3),
        (json!("a"), "buy", 7),
        (json!(1), "wish", 1),
    ] {
        table.count(&event(Some(user), kind, time), true);
    }
    table.count(&event(None, "view", 9), true);
    table
}

fn event(user: Option<Value>, kind: &str, time: i64) -> Event {
    Event { event_id: None, user, product: None, kind: kind.into(), time, properties: Vec::new() }
}

fn numbers(cells: &[Option<i128>]) -> Vec<Option<Found>> {
    cells.iter().map(|cell| cell.map(Found::Number)).collect()
}

fn find(table: &mut Table, user: Value, kind: &str, cells: &[Option<i128>]) {
    table.find(None, vec![user, json!(kind)], numbers(cells)).unwrap();
}

/// Of the right state but for one row, which is found as told.
fn with_user_one(cells: Option<&[Option<i128>]>) -> Compared {
    let mut table = counted();
    find(&mut table, json!("a"), "buy", &[Some(1), Some(7)]);
    if let Some(cells) = cells {
        find(&mut table, json!(1), "view", cells);
    }
    table.compare(0)
}

fn named(compared: &Compared) -> Vec<(Value, &str, Option<i64>, Option<i64>)> {
    let number = |value: &Option<Value>| value.as_ref().map(|value| value.as_i64().unwrap());
    let cells = compared.differences.iter();
    cells
        .map(|d| (d.key[0].1.clone(), d.cell.as_str(), number(&d.expected), number(&d.found)))
        .collect()
}

#[test]
fn what_is_equal_is_equal() {
    let compared = with_user_one(Some(&[Some(2), Some(3)]));
    let expected = Compared { in_log: 3, counted: 3, ..Compared::default() };
    assert_eq!(compared, expected, "what is not listed, or has no user, does not count");
}

#[test]
fn a_missing_event_is_missing() {
    let compared = with_user_one(Some(&[Some(1), Some(3)]));
    assert_eq!(
        (compared.in_log, compared.counted, compared.missing, compared.double, compared.wrong),
        (3, 2, 1, 0, 0)
    );
    assert_eq!(named(&compared), [(json!(1), "n", Some(2), Some(1))]);
    assert_eq!(
        compared.differences[0].key,
        [("user_id".into(), json!(1)), ("event_type".into(), json!("view"))]
    );
}

#[test]
fn a_missing_row_is_missing_with_all_its_cells() {
    let compared = with_user_one(None);
    assert_eq!((compared.counted, compared.missing, compared.wrong), (1, 2, 1));
    assert_eq!(
        named(&compared),
        [(json!(1), "n", Some(2), None), (json!(1), "first", Some(3), None)]
    );
}

#[test]
fn a_doubled_event_is_double() {
    let compared = with_user_one(Some(&[Some(4), Some(3)]));
    assert_eq!((compared.counted, compared.missing, compared.double), (5, 0, 2));
    assert_eq!(named(&compared), [(json!(1), "n", Some(2), Some(4))]);
}

#[test]
fn an_event_under_another_key_is_missing_here_and_double_there() {
    let mut table = counted();
    find(&mut table, json!("a"), "buy", &[Some(1), Some(7)]);
    find(&mut table, json!(1), "view", &[Some(1), Some(3)]);
    find(&mut table, json!("1"), "view", &[Some(1), Some(5)]);
    let compared = table.compare(0);
    assert_eq!(
        (compared.in_log, compared.counted, compared.missing, compared.double, compared.wrong),
        (3, 3, 1, 1, 1)
    );
    let expected = [
        (json!("1"), "n", None, Some(1)),
        (json!("1"), "first", None, Some(5)),
        (json!(1), "n", Some(2), Some(1)),
    ];
    assert_eq!(named(&compared), expected);
}

#[test]
fn a_wrong_time_is_wrong_though_the_count_is_right() {
    let compared = with_user_one(Some(&[Some(2), Some(4)]));
    assert_eq!((compared.missing, compared.double, compared.wrong), (0, 0, 1));
    assert_eq!(named(&compared), [(json!(1), "first", Some(3), Some(4))]);
}

#[test]
fn an_empty_row_is_one_too_many() {
    let mut table = counted();
    find(&mut table, json!("a"), "buy", &[Some(1), Some(7)]);
    find(&mut table, json!(1), "view", &[Some(2), Some(3)]);
    find(&mut table, json!(2), "view", &[Some(0), None]);
    let compared = table.compare(0);
    assert_eq!((compared.wrong, named(&compared)), (1, vec![(json!(2), "n", None, Some(0))]));
}

#[test]
fn what_came_between_two_states_is_counted_on_top_of_the_first() {
    let mut table = counted();
    let cells = || numbers(&[Some(10), Some(4)]);
    table.begin(None, vec![json!(2), json!("view")], cells()).unwrap();
    assert!(table.begin(None, vec![json!(2), json!("view")], cells()).is_err(), "a row comes once");
    table.count(&event(Some(json!(2)), "view", 8), true);
    find(&mut table, json!("a"), "buy", &[Some(1), Some(7)]);
    find(&mut table, json!(1), "view", &[Some(2), Some(3)]);
    find(&mut table, json!(2), "view", &[Some(11), Some(4)]);
    assert_eq!(table.compare(0), Compared { in_log: 4, counted: 4, ..Compared::default() });
}

#[test]
fn a_row_that_vanished_between_two_states_is_named() {
    let mut table = table(json!([{"name": "n", "merge": "sum", "from": "one"}]));
    table.begin(None, vec![json!(2), json!("view")], numbers(&[Some(10)])).unwrap();
    let compared = table.compare(0);
    assert_eq!((compared.in_log, compared.counted, compared.missing), (0, -10, 10));
}

#[test]
fn an_event_that_may_be_a_duplicate_is_right_either_way_and_no_further() {
    for (found, missing, double) in [(4, 0, 1), (3, 0, 0), (2, 0, 0), (1, 2, 0)] {
        let mut table = counted();
        table.count(&event(Some(json!(1)), "view", 1), false);
        find(&mut table, json!("a"), "buy", &[Some(1), Some(7)]);
        find(&mut table, json!(1), "view", &[Some(found), Some(3)]);
        let compared = table.compare(0);
        assert_eq!(
            (compared.missing, compared.double, compared.wrong, compared.uncertain),
            (missing, double, 0, 1)
        );
    }
}

#[test]
fn what_a_plugin_feeds_is_named_and_not_compared() {
    let mut table = table(
        json!([{"name": "n", "merge": "sum", "from": "one"}, {"name": "paid", "merge": "sum", "from": "update"}]),
    );
    table.count(&event(Some(json!(1)), "view", 5), true);
    find(&mut table, json!(1), "view", &[Some(1), Some(990)]);
    find(&mut table, json!(2), "wish", &[Some(0), Some(5)]);
    let expected =
        Compared { in_log: 1, counted: 1, plugins: vec!["t.paid".into()], ..Compared::default() };
    assert_eq!(table.compare(0), expected);
}

/// Prices by user and brand: what there is to count of a property, and of a column that only the
/// plugin knows.
fn priced() -> Table {
    let cell = |name: &str, merge: &str, from: Value| json!({"name": name, "merge": merge, "from": {"column": from}});
    let price = || json!({"property": "price"});
    let cells = json!([
        {"name": "n", "merge": "sum", "from": "one"},
        cell("paid", "sum", price()),
        cell("most", "max", price()),
        cell("users", "distinct", json!("user_id")),
        cell("spread", "quantiles", price()),
        cell("last", "latest", price()),
        cell("shops", "distinct", json!({"computed": "shop"})),
    ]);
    let description = json!({"name": "t", "key": [{"property": "brand"}], "cells": cells});
    let places = [("price".into(), 0), ("brand".into(), 1)].into();
    let mut table = Table::new(
        serde_json::from_value(description).unwrap(),
        Panes::default(),
        places,
        TypeRule::default(),
    );
    for (user, price, brand) in [
        (1, Some(250), Some("acme")),
        (2, Some(90), Some("acme")),
        (1, None, Some("acme")),
        (1, Some(7), None),
        (1, Some(7), Some("__other__")),
    ] {
        let price = price.map(Scalar::Whole);
        let properties = vec![price, brand.map(|brand| Scalar::Text(brand.into()))];
        table.count(&Event { properties, ..event(Some(json!(user)), "buy", 5) }, true);
    }
    table
}

/// The row of acme as it is stored, but for one cell.
fn acme(change: impl FnOnce(&mut Vec<Option<Found>>)) -> Compared {
    use tally_sketch::{Distinct, Latest, Quantiles, bucket_of_integer, hash_id};
    let (mut users, mut spread) = (Distinct::default(), Quantiles::default());
    [1, 2].into_iter().for_each(|id| users.add(hash_id(id)));
    [250, 90].into_iter().for_each(|price| spread.add(bucket_of_integer(price), 1));
    let last = Latest::new(5, &[&[2_u8, 128][..], &[0; 14], &[250]].concat());
    let mut bytes = [Vec::new(), Vec::new(), Vec::new()];
    users.write(&mut bytes[0]);
    spread.write(&mut bytes[1]);
    last.write(&mut bytes[2]);
    let mut cells = numbers(&[Some(3), Some(340), Some(250)]);
    cells.extend(bytes.map(|bytes| Some(Found::Sketch(bytes))));
    cells.push(None);
    change(&mut cells);
    let mut table = priced();
    table.find(None, vec![json!("acme")], cells).unwrap();
    table.compare(0)
}

#[test]
fn what_columns_feed_is_counted_again() {
    let compared = acme(|_| {});
    let expected =
        Compared { in_log: 3, counted: 3, plugins: vec!["t.shops".into()], ..Compared::default() };
    assert_eq!(
        compared, expected,
        "an event without a brand does not count, one without a price adds none"
    );
}

#[test]
fn each_cell_that_is_not_what_the_log_says_is_named() {
    let differ = |cell: usize, found: Found| {
        let compared = acme(|cells| cells[cell] = Some(found));
        assert_eq!(
            (compared.missing, compared.double, compared.wrong, compared.differences.len()),
            (0, 0, 1, 1)
        );
        let Difference { key, cell, expected, found, .. } =
            compared.differences.into_iter().next().unwrap();
        assert_eq!(key, [("brand".to_owned(), json!("acme"))]);
        (cell, expected.unwrap(), found.unwrap())
    };
    assert_eq!(differ(1, Found::Number(341)), ("paid".into(), json!(340), json!(341)));
    assert_eq!(differ(2, Found::Number(251)), ("most".into(), json!(250), json!(251)));
    for (cell, name, bytes) in [(3, "users", &[0, 9][..]), (4, "spread", &[129, 64, 1])] {
        let (cell, expected, found) = differ(cell, Found::Sketch(bytes.to_vec()));
        assert!(
            cell == name && expected != found && found.as_str().unwrap().starts_with("1 values "),
            "{found}"
        );
    }
    let (cell, expected, found) =
        differ(5, Found::Sketch([&[10, 2, 128][..], &[0; 14], &[90]].concat()));
    assert_eq!((cell.as_str(), expected, found), ("last", json!("250 at 5"), json!("90 at 5")));
    // One that is gone.
    let compared = acme(|cells| cells[3] = None);
    assert_eq!((compared.wrong, &compared.differences[0].found), (1, &None));
    assert!(
        priced()
            .find(
                None,
                vec![json!("x")],
                vec![Some(Found::Number(1)), None, None, Some(Found::Number(1)), None, None, None]
            )
            .is_err()
    );
}

#[test]
fn rows_of_computed_keys_are_named_and_not_compared() {
    let column = json!({"computed": "hour"});
    let description = json!({"name": "t", "key": ["user_id", column], "cells": [{"name": "n", "merge": "sum", "from": "one"}]});
    let mut table = Table::new(
        serde_json::from_value(description).unwrap(),
        Panes::default(),
        BTreeMap::new(),
        TypeRule::default(),
    );
    table.count(&event(Some(json!(1)), "view", 5), true);
    table.find(None, vec![json!(1), json!("acme")], numbers(&[Some(7)])).unwrap();
    let expected = Compared { plugins: vec!["t.n".into()], ..Compared::default() };
    assert_eq!(table.compare(0), expected, "never called equal: named");
}

/// Products by type with a count, a set and a first time, of which the state keeps product 1 alone.
fn limited(found: &[(Value, &str, i128)]) -> Compared {
    let cells = json!([{"name": "n", "merge": "sum", "from": "one"}, {"name": "first", "merge": "min", "from": "event_time"},
        {"name": "users", "merge": "distinct", "from": {"column": "user_id"}}]);
    let description =
        json!({"name": "t", "key": ["product_id", "event_type"], "group": 1, "cells": cells});
    let held: Panes = serde_json::from_value(json!([["1d", null]])).unwrap();
    let mut table = Table::new(
        serde_json::from_value(description).unwrap(),
        held,
        BTreeMap::new(),
        TypeRule::default(),
    );
    for (product, kind) in
        [(1, "view"), (1, "buy"), (2, "view"), (3, "view"), (3, "view"), (3, "buy")]
    {
        let of = Event {
            product: Some(json!(product)),
            ..event(Some(json!(product)), kind, 10 - product)
        };
        table.count(&of, true);
    }
    for (product, kind, count) in found {
        let of = |ids: &[u64]| {
            let (mut set, mut bytes) = (tally_sketch::Distinct::default(), Vec::new());
            ids.iter().for_each(|id| set.add(tally_sketch::hash_id(*id)));
            set.write(&mut bytes);
            Some(Found::Sketch(bytes))
        };
        let (first, users): (_, &[u64]) = match (product == 1, *kind) {
            (true, _) => (9, &[1]),
            (false, "view") => (7, &[2, 3]),
            _ => (7, &[3]),
        };
        // All of it on one day.
        for pane in [None, Some(Pane(Length::Day, 0))] {
            let cells = vec![Some(Found::Number(*count)), Some(Found::Number(first)), of(users)];
            table.find(pane, vec![product.clone(), json!(kind)], cells).unwrap();
        }
    }
    table.compare(0)
}

#[test]
fn keys_that_count_together_are_compared_together() {
    let other = || json!("__other__");
    let compared = limited(&[
        (json!(1), "view", 1),
        (json!(1), "buy", 1),
        (other(), "view", 3),
        (other(), "buy", 1),
    ]);
    assert_eq!(compared, Compared { in_log: 6, counted: 6, ..Compared::default() });
    // One event too many among the others; a row that a kept product lacks.
    let compared = limited(&[(json!(1), "view", 1), (other(), "view", 4), (other(), "buy", 1)]);
    assert_eq!((compared.missing, compared.double, compared.counted), (1, 1, 6));
    let of =
        |in_pane: bool| compared.differences.iter().filter(move |d| d.pane.is_some() == in_pane);
    for keys in [false, true].map(|in_pane| of(in_pane).map(|d| &d.key[0].1).collect::<Vec<_>>()) {
        assert!(
            keys.contains(&&other()) && keys.contains(&&json!(1)) && keys.len() == 4,
            "{keys:?}"
        );
    }
}

const HOUR: i64 = 3_600_000;

/// A count of user 1's views in minutes from `minutes` on and in hours before; two at one o'clock,
/// one a minute later.
fn in_panes(minutes: Option<i64>) -> Table {
    let description = json!({"name": "t", "key": ["user_id"], "cells": [{"name": "n", "merge": "sum", "from": "one"}]});
    let held = serde_json::from_value(json!([["1m", minutes], ["1h", null]])).unwrap();
    let mut table = Table::new(
        serde_json::from_value(description).unwrap(),
        held,
        BTreeMap::new(),
        TypeRule::default(),
    );
    for time in [HOUR, HOUR + 59_999, HOUR + 60_000] {
        table.count(&event(Some(json!(1)), "view", time), true);
    }
    table.find(None, vec![json!(1)], numbers(&[Some(3)])).unwrap();
    table
}

fn find_in(table: &mut Table, length: Length, start: i64, n: i128) {
    table.find(Some(Pane(length, start)), vec![json!(1)], numbers(&[Some(n)])).unwrap();
}

fn wrong_panes(compared: &Compared) -> Vec<(Pane, Option<i64>, Option<i64>)> {
    assert_eq!(
        (compared.missing, compared.double, compared.wrong),
        (0, 0, 0),
        "the totals are right"
    );
    assert_eq!(compared.wrong_in_panes, compared.differences.len() as u64);
    let number = |value: &Option<Value>| value.as_ref().map(|value| value.as_i64().unwrap());
    compared
        .differences
        .iter()
        .map(|d| (d.pane.unwrap(), number(&d.expected), number(&d.found)))
        .collect()
}

#[test]
fn each_pane_holds_its_own_events() {
    let equal = Compared { in_log: 3, counted: 3, ..Compared::default() };
    // In minutes, one of which comes in pieces.
    let mut table = in_panes(None);
    [(0, 1), (60_000, 1), (0, 1)]
        .into_iter()
        .for_each(|(at, n)| find_in(&mut table, Length::Minute, HOUR + at, n));
    assert_eq!(table.compare(0), equal);
    // In an hour, of which a part has not moved there yet.
    let mut table = in_panes(Some(2 * HOUR));
    find_in(&mut table, Length::Hour, HOUR, 2);
    find_in(&mut table, Length::Minute, HOUR + 60_000, 1);
    assert_eq!(table.compare(0), equal);
}

#[test]
fn an_event_in_a_wrong_pane_is_found_though_the_totals_are_right() {
    let minute = |n: i64| Pane(Length::Minute, HOUR + n * 60_000);
    // A minute late.
    let mut table = in_panes(None);
    find_in(&mut table, Length::Minute, HOUR, 1);
    find_in(&mut table, Length::Minute, HOUR + 60_000, 2);
    assert_eq!(
        wrong_panes(&table.compare(0)),
        [(minute(0), Some(2), Some(1)), (minute(1), Some(1), Some(2))]
    );
    // In none at all.
    let mut table = in_panes(None);
    find_in(&mut table, Length::Minute, HOUR, 2);
    assert_eq!(wrong_panes(&table.compare(0)), [(minute(1), Some(1), None)]);
    // In an hour although minutes are held: a question for a part of the hour would be answered
    // wrongly.
    let mut table = in_panes(None);
    find_in(&mut table, Length::Minute, HOUR, 2);
    find_in(&mut table, Length::Hour, HOUR, 1);
    assert_eq!(
        wrong_panes(&table.compare(0)),
        [(minute(1), Some(1), None), (Pane(Length::Hour, HOUR), None, Some(1))]
    );
}

#[test]
fn what_was_begun_with_moves_when_panes_do() {
    for (found, wrong) in [(8, 0), (7, 1)] {
        let mut table = in_panes(None);
        // Before anything is counted again: of other minutes of the hour.
        for (minute, n) in [(5, 3), (6, 1)] {
            let pane = Pane(Length::Minute, HOUR + minute * 60_000);
            table.begin(Some(pane), vec![json!(1)], numbers(&[Some(n)])).unwrap();
        }
        table.holds(serde_json::from_value(json!([["1m", 2 * HOUR], ["1h", null]])).unwrap());
        table.count(&event(Some(json!(1)), "view", HOUR), true);
        table.totals.clear();
        find_in(&mut table, Length::Hour, HOUR, found);
        assert_eq!(wrong_panes(&table.compare(0)).len(), wrong, "{found}");
    }
}

#[test]
fn only_the_first_differences_are_named_and_all_are_counted() {
    let mut table = table(json!([{"name": "n", "merge": "sum", "from": "one"}]));
    (100..200).for_each(|user| find(&mut table, json!(user), "view", &[Some(1)]));
    let compared = table.compare(0);
    assert_eq!((compared.double, compared.differences.len()), (100, NAMED));
    assert_eq!(
        (&compared.differences[0].key[0].1, &compared.differences[19].key[0].1),
        (&json!(100), &json!(119))
    );
}

/// Types over the limit: exactly those count together that the rule folds, and one that is shown
/// all the same is named.
#[test]
fn types_that_do_not_stand_for_themselves_are_expected_together() {
    let description = json!({"name": "t", "key": ["event_type"], "cells": [{"name": "n", "merge": "sum", "from": "one"}]});
    let rule = TypeRule { most: 4, always: ["type_9".to_owned()].into() };
    let kinds: std::collections::BTreeSet<String> = (0..10).map(|n| format!("type_{n}")).collect();
    let folded = rule.folded(&kinds);
    assert!(folded.len() >= 6 && !folded.contains("type_9"), "{folded:?}");
    let counted = |shown: &dyn Fn(&String) -> bool, together: i128| {
        let description = serde_json::from_value(description.clone()).unwrap();
        let mut table = Table::new(description, Panes::default(), BTreeMap::new(), rule.clone());
        for kind in &kinds {
            table.count(&event(None, kind, 1), true);
            if shown(kind) {
                table.find(None, vec![json!(kind)], numbers(&[Some(1)])).unwrap();
            }
        }
        table.find(None, vec![json!("__other__")], numbers(&[Some(together)])).unwrap();
        table.compare(0)
    };
    let right = counted(&|kind| !folded.contains(kind), folded.len() as i128);
    assert_eq!(
        (right.in_log, right.counted, right.missing, right.double, right.wrong),
        (10, 10, 0, 0, 0)
    );
    let first = folded.first().unwrap();
    let shown = counted(&|kind| !folded.contains(kind) || kind == first, folded.len() as i128 - 1);
    assert_eq!((shown.missing, shown.double), (1, 1), "one that should count together is shown");
    let hidden = kinds.iter().find(|kind| !folded.contains(*kind)).unwrap();
    let lost = counted(&|kind| !folded.contains(kind) && kind != hidden, folded.len() as i128 + 1);
    assert_eq!((lost.missing, lost.double), (1, 1), "one that should be shown counts together");
}

/// Three of user 1, one of user 2, each in a pane of its own minute; `found` of them are found,
/// with this first time of user 1.
fn lacking(failed: u64, found: [i128; 2], first: i128) -> Compared {
    let held: Panes = serde_json::from_value(json!([["1m", null]])).unwrap();
    let cells = json!([{"name": "n", "merge": "sum", "from": "one"}, {"name": "first", "merge": "min", "from": "event_time"}]);
    let description = json!({"name": "t", "key": ["user_id"], "cells": cells});
    let mut table = Table::new(
        serde_json::from_value(description).unwrap(),
        held,
        BTreeMap::new(),
        TypeRule::default(),
    );
    for (user, time) in [(1, 10), (1, 20), (1, 30), (2, 40)] {
        table.count(&event(Some(json!(user)), "view", time), true);
    }
    for (user, n, first) in [(1, found[0], first), (2, found[1], 40)] {
        if n > 0 {
            let cells = || numbers(&[Some(n), Some(first)]);
            table.find(None, vec![json!(user)], cells()).unwrap();
            table.find(Some(Pane(Length::Minute, 0)), vec![json!(user)], cells()).unwrap();
        }
    }
    table.compare(failed)
}

#[test]
fn what_is_missing_is_taken_for_events_that_failed_up_to_their_number_and_no_further() {
    let equal = |compared: &Compared| {
        (compared.missing, compared.double, compared.wrong, compared.wrong_in_panes)
    };
    for (failed, found, first) in
        [(1, [2, 1], 20), (3, [1, 0], 30), (2, [2, 0], 10), (5, [3, 0], 10)]
    {
        let compared = lacking(failed, found, first);
        assert_eq!(equal(&compared), (0, 0, 0, 0), "{failed} {found:?}: {compared:?}");
        assert_eq!(i128::from(compared.left_out), 4 - found[0] - found[1]);
        assert_eq!((compared.in_log, compared.counted), (4, found[0] + found[1]));
    }
    // One more than failed, one too many, and a row that lacks nothing but differs.
    assert_eq!(lacking(1, [1, 1], 30).missing, 2);
    assert_eq!((lacking(2, [3, 2], 10).double, lacking(0, [2, 1], 10).missing), (1, 1));
    assert_eq!(equal(&lacking(4, [3, 1], 11)), (0, 0, 1, 1));
}
