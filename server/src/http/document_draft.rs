//! A document as it is made: what was written by hand, and the parts of those metrics for which
//! there is room.
//!
//! Promises a bound on the bytes, whatever plugins say: of metrics for which there is no room the
//! description has the names, as many as there is room for. How the parts are put together is
//! decided elsewhere (`openapi`, `asyncapi`), and so is when a document is made (`documents`).

use super::documents::DescribedMetric;
use serde_json::{Map, Value, json};

/// Bytes that are kept for the names of metrics for which there is no room.
pub(crate) const NAMES: usize = 64 << 10;

/// What a document says of one metric.
pub(crate) trait DocumentPart {
    /// Bytes of the document that it takes, with the references to it.
    fn bytes(&self) -> usize;
}

/// A document of which the parts are not yet put together.
pub(crate) struct DocumentDraft<P> {
    /// What was written by hand, of this version.
    pub(crate) document: Value,
    /// The parts of the metrics for which there is room.
    pub(crate) parts: Vec<P>,
    /// Whether there are metrics for which there is none.
    pub(crate) has_others: bool,
}

impl<P: DocumentPart> DocumentDraft<P> {
    /// A document of at most so many bytes. `part_of` makes the part of a metric from the base.
    pub(crate) fn new(
        base: &str,
        metrics: &[DescribedMetric],
        most: usize,
        part_of: impl Fn(&Value, &DescribedMetric) -> P,
    ) -> DocumentDraft<P> {
        let mut document: Value = serde_json::from_str(base).expect("the base document is JSON");
        document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
        let mut left = most.saturating_sub(base.len() + NAMES);
        let (mut parts, mut others) = (Vec::new(), Vec::new());
        for metric in metrics {
            let part = part_of(&document, metric);
            match left.checked_sub(part.bytes()) {
                Some(rest) => {
                    left = rest;
                    parts.push(part);
                }
                None => others.push(metric.name.as_str()),
            }
        }
        if !others.is_empty() {
            name_others(&mut document, &others);
        }
        DocumentDraft { document, parts, has_others: !others.is_empty() }
    }
}

/// Names the metrics for which there is no room.
fn name_others(document: &mut Value, others: &[&str]) {
    let mut room = NAMES / 2;
    let named: Vec<&str> = others
        .iter()
        .copied()
        .take_while(|name| {
            room = room.saturating_sub(name.len() + 2);
            room > 0
        })
        .collect();
    let more = match others.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = document["info"]["description"].as_str().unwrap_or_default();
    let text = format!(
        "{text} There is no room for the schemas of {}{more}: `GET /api/metrics/{{name}}` has them.",
        named.join(", ")
    );
    document["info"]["description"] = text.into();
}

/// Adds members to the object at a place, which is made if it is not there.
pub(crate) fn extend(document: &mut Value, place: &str, more: Map<String, Value>) {
    let (above, name) = place.rsplit_once('/').unwrap_or(("", place));
    if more.is_empty() {
        return;
    }
    if let Some(above) = document.pointer_mut(above) {
        let object = &mut above[name];
        if object.is_null() {
            *object = json!({});
        }
        if let Some(members) = object.as_object_mut() {
            members.extend(more);
        }
    }
}

/// Bytes of some members as they are written.
pub(crate) fn written_bytes(members: &Map<String, Value>) -> usize {
    // Values always serialise.
    serde_json::to_string(members).map_or(0, |text| text.len())
}
