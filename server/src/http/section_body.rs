//! A section of a metric as JSON, brought into the form that the configuration has.
//!
//! What JSON has and TOML has not (null, integers beyond 64 bits, a key that is given twice) is
//! refused here, the first of it at once; what a section may hold is the engine's to judge. Work and
//! memory grow with the body's length alone.

use super::codes::Code;
use super::json_members::{self, Members};
use super::problem::Problem;
use super::request_object::{json_value, not_an_object};
use serde_json::value::RawValue;
use std::fmt::Write;
use tally_engine::config::LONGEST_KEY;
use tally_plugin::ask::Fault;
use toml::{Table, Value};

/// Objects and arrays inside each other: more than any section may have.
const DEEPEST: usize = 64;

/// Faults that are told.
const TOLD: usize = 100;

/// Letters of a key that are repeated beside its pointer.
const LONGEST_SHOWN: usize = 64;

/// Reads a body.
///
/// # Errors
/// 400 `invalid_json`; 422 `invalid_request` if it is not an object; 422 `section_invalid` with a
/// pointer for each of the first faults.
pub(crate) fn parse(body: &[u8]) -> Result<Table, Problem> {
    let members = json_members::members(json_value(body)?).ok_or_else(not_an_object)?;
    let mut reader = BodyReader::default();
    let section = reader.table(members, 0);
    let faults = reader.faults;
    if faults.is_empty() {
        Ok(section)
    } else {
        Err(Problem::invalid(Code::SectionInvalid, faults))
    }
}

#[derive(Default)]
struct BodyReader {
    /// Pointer to the value that is read.
    at: String,
    faults: Vec<Fault>,
}

impl BodyReader {
    /// `what`: said of the value there.
    fn refuse(&mut self, what: &str) -> Option<Value> {
        let detail = format!("{} {what}", subject(&self.at));
        self.faults.push(Fault { pointer: self.at.clone(), detail });
        None
    }

    /// Whether enough is told.
    fn is_done(&self) -> bool {
        self.faults.len() >= TOLD
    }

    fn table(&mut self, Members(members): Members<'_>, depth: usize) -> Table {
        let mut table = Table::new();
        let around = self.at.len();
        for (key, value) in members {
            if self.is_done() {
                break;
            }
            if key.len() > LONGEST_KEY {
                // At the table: a pointer to the key would be as long.
                let long = format!("has a key of more than {LONGEST_KEY} bytes");
                self.refuse(&long);
                continue;
            }
            self.at.push('/');
            self.at.push_str(&key.replace('~', "~0").replace('/', "~1"));
            if table.contains_key(key.as_ref()) {
                self.refuse("is given twice");
            } else if let Some(value) = self.value(value, depth + 1) {
                table.insert(key.into_owned(), value);
            }
            self.at.truncate(around);
        }
        table
    }

    fn array(&mut self, elements: Vec<&RawValue>, depth: usize) -> Vec<Value> {
        let mut read = Vec::new();
        let around = self.at.len();
        for (n, element) in elements.into_iter().enumerate() {
            if self.is_done() {
                break;
            }
            // Writing to a String cannot fail.
            let _ = write!(self.at, "/{n}");
            read.extend(self.value(element, depth + 1));
            self.at.truncate(around);
        }
        read
    }

    fn value(&mut self, value: &RawValue, depth: usize) -> Option<Value> {
        let text = value.get();
        if depth > DEEPEST {
            let deep = format!("is more than {DEEPEST} objects and arrays deep");
            return self.refuse(&deep);
        }
        match text.as_bytes().first() {
            Some(b'{') => {
                let members = json_members::members(value)?;
                Some(Value::Table(self.table(members, depth)))
            }
            Some(b'[') => {
                let elements = json_members::elements(value)?;
                Some(Value::Array(self.array(elements, depth)))
            }
            Some(b'"') => match serde_json::from_str(text) {
                Ok(text) => Some(Value::String(text)),
                Err(_) => self.refuse("is not a text of Unicode characters"),
            },
            Some(b't') => Some(Value::Boolean(true)),
            Some(b'f') => Some(Value::Boolean(false)),
            Some(b'n') => self.refuse("is null, which no section holds: leave it out"),
            _ => self.number(text),
        }
    }

    fn number(&mut self, text: &str) -> Option<Value> {
        if let Ok(integer) = text.parse() {
            return Some(Value::Integer(integer));
        }
        if !text.contains(['.', 'e', 'E']) {
            return self.refuse("does not fit into 64 bits");
        }
        let float = text.parse().ok().filter(|float: &f64| float.is_finite());
        float.map(Value::Float).or_else(|| self.refuse("is too large"))
    }
}

/// What a value is called: its key, or its place in an array.
fn subject(at: &str) -> String {
    let key = |step: &str| {
        let key = step.replace("~1", "/").replace("~0", "~");
        match key.char_indices().nth(LONGEST_SHOWN) {
            Some((end, _)) => format!("{}…", key[..end].escape_debug()),
            None => key.escape_debug().to_string(),
        }
    };
    let Some((before, step)) = at.rsplit_once('/') else { return "the section".to_owned() };
    if step.is_empty() || !step.bytes().all(|byte| byte.is_ascii_digit()) {
        return key(step);
    }
    let array = before.rsplit('/').next().unwrap_or_default();
    format!("element {step} of {}", key(array))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_section_is_the_same_in_both_forms() {
        let body = r#"{"plugin":"counts","enabled":true,"max_cells":7,"retention":{"1m":"2h"},
            "config":{"by":["/a~b","\u00e4\n"],"cells":{"n":{"sum":"/x"}},"f":[1.5,-2,1e3],"no":[]}}"#;
        let expected = "plugin = \"counts\"\nenabled = true\nmax_cells = 7\nretention = { 1m = \"2h\" }\n\
            [config]\nby = [\"/a~b\", \"ä\\n\"]\ncells = { n = { sum = \"/x\" } }\n\
            f = [1.5, -2, 1000.0]\nno = []\n";
        assert_eq!(parse(body.as_bytes()).unwrap(), expected.parse::<Table>().unwrap());
        assert_eq!(parse(b"{}").unwrap(), Table::new());
    }

    #[test]
    fn what_the_configuration_has_no_form_for_is_told_at_its_place() {
        let body = r#"{"plugin":null,"max_cells":9223372036854775808,"history":"all","history":"1d",
            "config":{"a/b~c":[1,{"x":null}],"huge":1e999,"half":"\ud800"}}"#;
        let refused = parse(body.as_bytes()).unwrap_err();
        assert_eq!(refused.code(), "section_invalid");
        let pointers: Vec<&str> =
            refused.errors().iter().map(|fault| fault.pointer.as_str()).collect();
        let expected = [
            "/plugin",
            "/max_cells",
            "/history",
            "/config/a~1b~0c/1/x",
            "/config/huge",
            "/config/half",
        ];
        assert_eq!(pointers, expected, "{:?}", refused.errors());
        let told = |n: usize| refused.errors()[n].detail.as_str();
        assert_eq!(told(2), "history is given twice");
        let null = parse(br#"{"config":{"a/b":[1,null]}}"#).unwrap_err();
        let null = &null.errors()[0].detail;
        assert_eq!(null, "element 1 of a/b is null, which no section holds: leave it out");
        for (body, code) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("[]", "invalid_request"),
            ("7", "invalid_request"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn long_keys_and_many_faults_cost_no_more_than_the_body() {
        let long = "k".repeat(LONGEST_KEY + 1);
        let nulls = vec!["null"; 6_400].join(",");
        let body = format!("{{\"{long}\":1,\"config\":{{\"{long}\":[{nulls}],\"a\":1}}}}");
        let refused = parse(body.as_bytes()).unwrap_err();
        let told: Vec<(&str, &str)> = refused
            .errors()
            .iter()
            .map(|fault| (fault.pointer.as_str(), fault.detail.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("", "the section has a key of more than 256 bytes"),
                ("/config", "config has a key of more than 256 bytes"),
            ]
        );
        let key = &long[1..];
        let body = format!("{{\"config\":{{\"{key}\":[{nulls}]}}}}");
        let refused = parse(body.as_bytes()).unwrap_err();
        assert_eq!(refused.errors().len(), TOLD);
        let last = &refused.errors()[TOLD - 1];
        assert_eq!(last.pointer, format!("/config/{key}/99"));
        let shown = &key[..LONGEST_SHOWN];
        assert!(last.detail.starts_with(&format!("element 99 of {shown}… is null")), "{last:?}");
    }

    #[test]
    fn nothing_is_too_deep_to_be_refused() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            for (depth, good) in [(60, true), (10_000, false)] {
                let inside = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let read = parse(format!("{{\"config\":{inside}}}").as_bytes());
                assert_eq!(read.is_ok(), good, "{depth} {open}: {read:?}");
            }
        }
    }
}
