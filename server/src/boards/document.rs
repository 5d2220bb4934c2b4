//! Whether a text is a board, and what is said of it in a list.
//!
//! Its form is that of `schema.json`, which the OpenAPI document shows; what no schema can say is
//! judged here. Whether a metric of this name is served, and takes these params, is not judged: it
//! may be served tomorrow.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use tally_engine::schema::Schema;
use thiserror::Error;

/// The form of a board, as JSON Schema.
const SCHEMA: &str = include_str!("schema.json");

/// Columns of the grid.
const COLUMNS: u64 = 12;

/// Faults of a document that are told.
const TOLD: usize = 3;

/// Why a text is no board.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum DocumentFault {
    /// It is not JSON.
    #[error("is no JSON: {0}")]
    Json(String),
    /// It has another form; where, and what is wrong there.
    #[error("is no board: {0}")]
    Form(String),
}

/// What a list says of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) title: String,
    pub(super) items: usize,
}

/// Judges texts.
pub(super) struct Judge(Schema);

/// As much of a board as is judged beside its schema.
#[derive(Deserialize)]
struct BoardDocument {
    title: String,
    items: Vec<BoardItem>,
}

#[derive(Deserialize)]
struct BoardItem {
    id: String,
    x: u64,
    w: u64,
}

/// The form of a board.
pub(crate) fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema of boards is JSON")
}

impl Judge {
    pub(super) fn new() -> Judge {
        Judge(Schema::compile(&schema()).expect("the schema of boards is one"))
    }

    /// What is said of the board that a text is.
    pub(super) fn judge(&self, text: &[u8]) -> Result<Summary, DocumentFault> {
        let json = |fault: serde_json::Error| DocumentFault::Json(fault.to_string());
        let value: Value = serde_json::from_slice(text).map_err(json)?;
        let faults: Vec<String> = self
            .0
            .faults(&value, TOLD)
            .iter()
            .map(|fault| format!("{}: {}", place(&fault.pointer()), fault.masked()))
            .collect();
        if !faults.is_empty() {
            return Err(DocumentFault::Form(faults.join("; ")));
        }
        let form = |fault: serde_json::Error| DocumentFault::Form(fault.to_string());
        let document = BoardDocument::deserialize(&value).map_err(form)?;
        let BoardDocument { title, items } = document;
        let mut ids = BTreeSet::new();
        for (n, item) in items.iter().enumerate() {
            if item.x + item.w > COLUMNS {
                let fault = format!("items/{n}: x and w are more than {COLUMNS} together");
                return Err(DocumentFault::Form(fault));
            }
            if !ids.insert(&item.id) {
                let fault = format!("items/{n}/id: another item has the id {:?} too", item.id);
                return Err(DocumentFault::Form(fault));
            }
        }
        Ok(Summary { title, items: items.len() })
    }
}

/// Where in a document, without the slash that begins a path of files.
fn place(pointer: &str) -> &str {
    pointer.strip_prefix('/').unwrap_or("the whole")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use serde_json::json;

    fn board() -> Value {
        json!({"version": 1, "title": "Ops", "items": [
            {"id": "a", "metric": "event_frequencies", "params": {"window": "1h"}, "x": 0, "y": 0, "w": 4, "h": 3},
            {"id": "b", "title": "Top", "metric": "products_popularity", "params": {}, "expand": ["names"],
             "picture": "table", "x": 4, "y": 0, "w": 8, "h": 3},
        ]})
    }

    fn judged(board: &Value) -> Result<Summary, DocumentFault> {
        Judge::new().judge(board.to_string().as_bytes())
    }

    #[test]
    fn a_board_is_said_to_have_its_title_and_items() {
        let summary = Summary { title: "Ops".into(), items: 2 };
        assert_eq!(judged(&board()), Ok(summary));
        let empty = json!({"version": 1, "title": "E", "items": []});
        assert_eq!(judged(&empty).map(|summary| summary.items), Ok(0));
    }

    #[test]
    fn what_is_no_board_is_refused_where_it_is_wrong() {
        for (pointer, value, words) in [
            ("/version", json!(2), "version: "),
            ("/title", json!(""), "title: "),
            ("/items/0/metric", json!("No Metric"), "items/0/metric: "),
            ("/items/0/params", json!(null), "items/0/params: "),
            ("/items/0/x", json!(9), "items/0: x and w are more than 12 together"),
            ("/items/0/w", json!(13), "items/0/w: "),
            ("/items/0/h", json!(0), "items/0/h: "),
            ("/items/1/id", json!("a"), "items/1/id: another item has the id \"a\" too"),
            ("/items/1/picture", json!("pie"), "items/1/picture: "),
            ("/items/1/expand", json!(["ids"]), "items/1/expand/0: "),
        ] {
            let mut board = board();
            *board.pointer_mut(pointer).unwrap() = value;
            let fault = judged(&board).unwrap_err().to_string();
            assert!(fault.starts_with("is no board: ") && fault.contains(words), "{fault}");
        }
        let mut unknown = board();
        unknown["items"][0]["colour"] = json!("red");
        assert!(judged(&unknown).unwrap_err().to_string().contains("colour"));
        let mut many = board();
        many["items"] = (0..101).map(|_| board()["items"][0].clone()).collect();
        assert!(judged(&many).unwrap_err().to_string().contains("items: "));
        assert_eq!(judged(&json!([])).unwrap_err().to_string().find("the whole: "), Some(13));
        let no_json = Judge::new().judge(b"{\"version\":").unwrap_err();
        assert!(no_json.to_string().starts_with("is no JSON: "), "{no_json}");
    }
}
