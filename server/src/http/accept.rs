//! Which form of an answer a client prefers, by its `Accept`.
//!
//! JSON is what everybody gets who does not prefer something else that is offered: no `Accept`, one
//! that takes anything, or one that names nothing offered. Nobody is refused for what it accepts.

use axum::http::{HeaderMap, header};

/// The media type of `offered` that the client prefers to JSON; of equal ones the first that it
/// names. `None`: JSON.
pub(crate) fn preferred(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let mut best: (f32, Option<&'static str>) = (0.0, None);
    let values = headers.get_all(header::ACCEPT).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    for range in texts.flat_map(|text| text.split(',')) {
        let mut pieces = range.split(';').map(str::trim);
        let named = pieces.next().unwrap_or_default();
        let found = offered.iter().copied().find(|offered| offered.eq_ignore_ascii_case(named));
        if found.is_none() && !is_json(named) {
            continue;
        }
        let quality = pieces.find_map(quality).unwrap_or(1.0);
        if quality > best.0 {
            best = (quality, found);
        }
    }
    best.1
}

/// Whether a range of media types has JSON in it.
fn is_json(range: &str) -> bool {
    ["application/json", "application/*", "*/*"].iter().any(|json| json.eq_ignore_ascii_case(range))
}

/// The weight that a parameter of a range gives it, if it is one.
pub(super) fn quality(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    let weight = value.trim().parse::<f32>().ok();
    let weight = weight.filter(|weight| (0.0_f32..=1.0_f32).contains(weight));
    weight.filter(|_| name.trim().eq_ignore_ascii_case("q"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn json_is_given_unless_something_else_is_preferred() {
        let (csv, lines) = ("text/csv", "application/x-ndjson");
        for (accept, expected) in [
            ("", None),
            ("*/*", None),
            ("application/json", None),
            ("image/png", None),
            ("text/*", None),
            ("text/csv", Some(csv)),
            ("Text/CSV; charset=utf-8", Some(csv)),
            ("text/csv, */*", Some(csv)),
            ("*/*, text/csv", None),
            ("text/csv;q=0.5, application/json", None),
            ("application/json;q=0.5, text/csv;q=0.9", Some(csv)),
            ("application/x-ndjson, text/csv", Some(lines)),
            ("text/csv;q=0.1, application/x-ndjson;q=0.2", Some(lines)),
            ("text/csv;q=0", None),
            ("text/csv;q=9", Some(csv)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(preferred(&headers, &[csv, lines]), expected, "{accept}");
        }
        let mut two = HeaderMap::new();
        two.append(header::ACCEPT, HeaderValue::from_static("image/png"));
        two.append(header::ACCEPT, HeaderValue::from_static("text/csv"));
        assert_eq!(preferred(&two, &[csv]), Some(csv));
        assert_eq!(preferred(&HeaderMap::new(), &[csv]), None);
    }
}
