//! Writing a field where a JSON pointer (RFC 6901) says that the engine will look for it.

use serde_json::{Map, Value};

/// The pointer of a field: the names on the way, unescaped.
#[derive(Clone, Debug)]
pub(crate) struct Pointer(Vec<String>);

impl Pointer {
    /// From its text; the configuration has checked the form.
    pub(crate) fn new(text: &str) -> Pointer {
        Pointer(
            text.split('/')
                .skip(1)
                .map(|name| name.replace("~1", "/").replace("~0", "~"))
                .collect(),
        )
    }

    /// The names on the way.
    pub(crate) fn names(&self) -> &[String] {
        &self.0
    }

    /// Puts a value there, making objects on the way. A value on the way that is not an object is
    /// replaced.
    pub(crate) fn set(&self, record: &mut Map<String, Value>, value: Value) {
        let Some((last, way)) = self.0.split_last() else {
            return;
        };
        let mut at = record;
        for name in way {
            let inner = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(next) = inner else { return };
            at = next;
        }
        at.insert(last.clone(), value);
    }
}

/// The five places.
#[derive(Clone, Debug)]
pub(crate) struct FieldPointers {
    /// Identity of the event.
    pub(crate) event_id: Pointer,
    /// The user.
    pub(crate) user_id: Pointer,
    /// The product.
    pub(crate) product_id: Pointer,
    /// The type of interaction.
    pub(crate) event_type: Pointer,
    /// When it happened.
    pub(crate) timestamp: Pointer,
}

impl FieldPointers {
    /// As configured.
    pub(crate) fn new(fields: &tally_engine::config::FieldsConfig) -> FieldPointers {
        FieldPointers {
            event_id: Pointer::new(&fields.event_id),
            user_id: Pointer::new(&fields.user_id),
            product_id: Pointer::new(&fields.product_id),
            event_type: Pointer::new(&fields.event_type),
            timestamp: Pointer::new(&fields.timestamp),
        }
    }

    /// By the name of the field.
    pub(crate) fn named(&self, field: &str) -> Option<&Pointer> {
        Some(match field {
            "event_id" => &self.event_id,
            "user_id" => &self.user_id,
            "product_id" => &self.product_id,
            "event_type" => &self.event_type,
            "timestamp" => &self.timestamp,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_found_and_escapes_are_undone() {
        let mut record = Map::new();
        for (text, value) in [("/user/id", 1), ("/user/a~1b", 2), ("/c~01", 3)] {
            Pointer::new(text).set(&mut record, value.into());
            assert_eq!(Value::Object(record.clone()).pointer(text), Some(&value.into()));
        }
        assert_eq!(Value::Object(record).to_string(), r#"{"user":{"id":1,"a/b":2},"c~1":3}"#);
    }
}
