//! What may be a name: of a metric, of an event type, and of what a plugin declares. All have one
//! form, and differ in how long they may be.

/// Longest name of a metric, bytes.
const LONGEST_METRIC: usize = 64;

/// Longest name of an event type, bytes.
const LONGEST_TYPE: usize = 32;

/// Whether a metric can have this name.
#[must_use]
pub fn is_metric_name(name: &str) -> bool {
    is_identifier(name, LONGEST_METRIC)
}

/// Whether an event can name this as its type.
#[must_use]
pub fn is_event_type(name: &str) -> bool {
    is_identifier(name, LONGEST_TYPE)
}

/// Whether this is a lower case letter, and then lower case letters, digits and `_`, of at most so
/// many bytes.
#[must_use]
pub fn is_identifier(name: &str, longest: usize) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase();
    let rest = |byte: u8| letter(byte) || byte.is_ascii_digit() || byte == b'_';
    name.len() <= longest && name.bytes().next().is_some_and(letter) && name.bytes().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_to_the_letter() {
        for (name, good) in [
            ("view", true),
            ("a", true),
            ("a_1", true),
            ("", false),
            ("_a", false),
            ("__other__", false),
            ("1a", false),
            ("VIEW!", false),
            ("vieW", false),
            ("a-b", false),
            ("é", false),
        ] {
            assert_eq!(is_event_type(name), good, "{name}");
            assert_eq!(is_metric_name(name), good, "{name}");
        }
        let long = |bytes: usize| "a".repeat(bytes);
        assert!(is_event_type(&long(32)) && !is_event_type(&long(33)));
        assert!(is_metric_name(&long(64)) && !is_metric_name(&long(65)));
    }
}
