//! What a value has against a JSON Schema, as sentences for who wrote the value: where, what, and
//! what there could be instead.

use serde_json::Value;
use std::collections::BTreeMap;
use tally_config::secret::{is_secret, masked, quoted};
use tally_plugin::ask::Fault as PlacedFault;
use tally_schema::{Fault, FaultKind, Form, Schema, Step};

/// Faults of a value that are listed.
const LISTED: usize = 20;

/// Characters of a fault that is given with a pointer.
const LONGEST: usize = 500;

/// The first faults of a value, each with where it is.
pub(super) fn against(schema: &Schema, value: &Value) -> Vec<String> {
    faults_of(schema, value).into_iter().map(|(_, fault)| fault).collect()
}

/// Of a value the first faults, each with the keys that lead to it, and a sentence that says what
/// there could be instead. What may be a secret is in none of them.
pub(super) fn faults_of(schema: &Schema, value: &Value) -> Vec<(Vec<String>, String)> {
    schema.faults(value, LISTED).iter().map(|fault| (keys(fault), sentence(fault))).collect()
}

/// Of a value the first faults, each with a JSON pointer that begins with `at`, one for a pointer. A
/// missing or unknown key is pointed at by its own name. What may be a secret is in none of them.
pub(super) fn placed(schema: &Schema, value: &Value, at: &str) -> Vec<PlacedFault> {
    let mut placed: BTreeMap<String, String> = BTreeMap::new();
    for fault in schema.faults(value, LISTED) {
        let place = format!("{at}{}", fault.pointer());
        let below = |key: &str| format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
        match &fault.kind {
            FaultKind::Missing { key, beside: None } => {
                placed.entry(below(key)).or_insert_with(|| format!("{key} is missing"));
            }
            FaultKind::UnknownKeys { unknown, known } => {
                for key in unknown.iter().take(LISTED) {
                    let told = || cut(&masked(&unknown_keys(&[*key], known)));
                    placed.entry(below(key)).or_insert_with(told);
                }
            }
            _ => {
                placed.entry(place).or_insert_with(|| cut(&said(&fault)));
            }
        }
    }
    placed.into_iter().map(|(pointer, detail)| PlacedFault { pointer, detail }).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

fn keys(fault: &Fault<'_>) -> Vec<String> {
    fault.path.iter().map(Step::to_string).collect()
}

fn sentence(fault: &Fault<'_>) -> String {
    let (said, pointer) = (said(fault), fault.pointer());
    if pointer.is_empty() { said } else { format!("{pointer}: {said}") }
}

/// What is wrong, without where.
fn said(fault: &Fault<'_>) -> String {
    let said = match &fault.kind {
        FaultKind::NoAlternative(forms) if !forms.is_empty() => {
            format!(
                "must be one of {}",
                forms.iter().map(as_written).collect::<Vec<_>>().join(", ")
            )
        }
        FaultKind::UnknownKeys { unknown, known } => unknown_keys(unknown, known),
        _ if keys(fault).iter().any(|key| is_secret(key)) => fault.masked().to_string(),
        _ => fault.to_string(),
    };
    masked(&said)
}

/// A form as a person writes it into the configuration.
fn as_written(form: &Form<'_>) -> String {
    match form {
        Form::Key(key) => format!("{{ {key} = … }}"),
        form => form.to_string(),
    }
}

fn unknown_keys(unknown: &[&str], known: &[String]) -> String {
    let told = unknown.iter().take(LISTED).map(|key| {
        let near = known
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
        let near = near.filter(|near| key.len() <= 64 && strsim::jaro_winkler(key, near) > 0.8);
        let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        format!("unknown key {}{near}", quoted(key))
    });
    let told: Vec<String> = told.collect();
    if known.is_empty() {
        told.join("; ")
    } else {
        format!("{}; the keys are {}", told.join("; "), known.join(", "))
    }
}
