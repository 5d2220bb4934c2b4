//! Documents that programs read to know this server: made from the metrics that are served, and
//! kept until these are others.
//!
//! A document is made on a blocking thread, in a place of those who read the log or state again,
//! and by one request at a time; everybody gets the same bytes and the same tag while the names,
//! versions and descriptions of the metrics stay. What a document says is decided elsewhere
//! (`openapi`, `asyncapi`).

use super::blocking::in_slot;
use super::problem::Problem;
use super::{App, answer, etag};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use tally_engine::engine::{MetricInfo, MetricState};
use tally_plugin::description::Description;

/// Most bytes of a document: of metrics for which there is no room it has the names only.
pub(crate) const MOST: usize = 8 << 20;

/// What a document says of a metric comes from this.
pub(crate) struct DescribedMetric {
    /// Name under which it answers.
    pub(crate) name: String,
    /// Version of the plugin's code.
    pub(crate) version: String,
    /// What it is; its params schema includes the time params.
    pub(crate) description: Arc<Description>,
}

impl PartialEq for DescribedMetric {
    fn eq(&self, other: &DescribedMetric) -> bool {
        let same = Arc::ptr_eq(&self.description, &other.description);
        (&self.name, &self.version) == (&other.name, &other.version)
            && (same || self.description == other.description)
    }
}

/// A document, and what it was made from last.
pub(crate) struct KeptDocument {
    make: fn(&[DescribedMetric]) -> String,
    last: Mutex<Option<MadeDocument>>,
}

struct MadeDocument {
    from: Vec<DescribedMetric>,
    text: Bytes,
    tag: HeaderValue,
}

impl KeptDocument {
    /// One that is made by this function.
    pub(crate) fn new(make: fn(&[DescribedMetric]) -> String) -> Arc<KeptDocument> {
        Arc::new(KeptDocument { make, last: Mutex::new(None) })
    }

    /// Answers with it.
    ///
    /// # Errors
    /// 503 `overloaded`: there is no place to make it in.
    pub(crate) async fn answer(self: Arc<Self>, app: &App) -> Result<Response, Problem> {
        let engine = Arc::clone(&app.engine);
        let work = move || self.of(described(engine.metrics()));
        let (text, tag) = in_slot(app, work).await?;
        let mut response = answer::full(HeaderValue::from_static("application/json"), text);
        response.headers_mut().insert(header::ETAG, tag);
        Ok(response)
    }

    /// Its text and tag. Blocks while another request makes it.
    fn of(&self, metrics: Vec<DescribedMetric>) -> (Bytes, HeaderValue) {
        let mut last = self.last.lock();
        if let Some(made) = last.as_ref().filter(|made| made.from == metrics) {
            return (made.text.clone(), made.tag.clone());
        }
        let text = Bytes::from((self.make)(&metrics));
        let tag = etag::of_bytes(&text);
        *last = Some(MadeDocument { from: metrics, text: text.clone(), tag: tag.clone() });
        (text, tag)
    }
}

/// The metrics that answer, or will.
fn described(metrics: Vec<MetricInfo>) -> Vec<DescribedMetric> {
    let served = metrics.into_iter().filter(|info| info.state != MetricState::Retired);
    let describe = |info: MetricInfo| {
        let MetricInfo { name, version, description, .. } = info;
        DescribedMetric { name, version, description }
    };
    served.map(describe).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A metric with a time axis, with these schemas and one example.
    pub(crate) fn metric(name: &str, params: Value, result: Value) -> DescribedMetric {
        let example = tally_plugin::description::Example { params: json!({}), note: "all".into() };
        let description = Description {
            summary: "How often".into(),
            tables: vec![],
            properties: vec![],
            computed: vec![],
            time: true,
            params_schema: params,
            result_schema: result,
            examples: vec![example],
        };
        let (name, version) = (name.to_owned(), "1.0.0".to_owned());
        DescribedMetric { name, version, description: Arc::new(description) }
    }

    #[test]
    fn a_document_is_made_anew_only_from_other_metrics() {
        let kept = KeptDocument::new(|metrics| {
            let names: Vec<&str> = metrics.iter().map(|metric| &*metric.name).collect();
            format!("{} {names:?}", metrics.len())
        });
        let plain = |name| metric(name, json!({}), json!({}));
        let (first, tag) = kept.of(vec![plain("a")]);
        let (again, same) = kept.of(vec![plain("a")]);
        assert_eq!((first.as_ptr(), &tag), (again.as_ptr(), &same), "the bytes are shared");
        assert_eq!(&*first, b"1 [\"a\"]");
        for other in [
            vec![],
            vec![plain("a"), plain("b")],
            vec![plain("b")],
            vec![metric("a", json!({}), json!(true))],
            vec![DescribedMetric { version: "1.0.1".into(), ..plain("a") }],
        ] {
            let (text, _) = kept.of(other);
            let (back, _) = kept.of(vec![plain("a")]);
            assert_ne!(text.as_ptr(), back.as_ptr());
            assert_eq!(back, first);
        }
    }
}
