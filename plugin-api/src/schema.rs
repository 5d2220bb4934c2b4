//! JSON Schemas of an author's types, and values of these types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::any::TypeId;

/// Schema of what is given to a metric: an object that takes no unknown keys. `()` is the empty
/// object.
pub(crate) fn of_input<T: JsonSchema + 'static>() -> Value {
    if is_unit::<T>() {
        return json!({"type": "object", "properties": {}, "additionalProperties": false});
    }
    let mut schema = plain(SchemaSettings::draft2020_12().for_deserialize(), |generator| {
        generator.into_root_schema_for::<T>().to_value()
    });
    if let Some(object) = schema.as_object_mut() {
        object.entry("additionalProperties").or_insert(json!(false));
    }
    schema
}

/// Schema of what a metric answers.
pub(crate) fn of_output<T: JsonSchema>() -> Value {
    plain(SchemaSettings::draft2020_12().for_serialize(), |generator| {
        generator.into_root_schema_for::<T>().to_value()
    })
}

/// Reads a value that is valid under [`of_input`].
pub(crate) fn read<T: DeserializeOwned + 'static>(value: Value) -> Result<T, String> {
    let value = if is_unit::<T>() && value == json!({}) { Value::Null } else { value };
    serde_json::from_value(value).map_err(|fault| fault.to_string())
}

fn is_unit<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<()>()
}

/// Without references and without the names of Rust types, which say nothing to who asks.
fn plain(settings: SchemaSettings, make: impl FnOnce(schemars::SchemaGenerator) -> Value) -> Value {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = make(settings.into_generator());
    if let Some(object) = schema.as_object_mut() {
        object.remove("title");
    }
    schema
}
