//! JSON pointers (RFC 6901), as `[events.fields]` and the properties of metrics write them.
//!
//! Says which keys a pointer leads through and what is wrong with one that is not valid. Follows
//! none: decode does.

use thiserror::Error;

/// How many levels deep a record may be nested, and hence a pointer may lead.
pub const MAX_DEPTH: usize = 32;

/// What is wrong with a pointer. Each is the end of a sentence that begins with the pointer. Trying
/// again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointerFault {
    /// It does not begin with a slash.
    #[error(
        "not a JSON pointer: it must begin with \"/\", as \"/user_id\" or \"/payload/user/id\""
    )]
    Start,
    /// It leads deeper than [`MAX_DEPTH`].
    #[error("leads deeper than a record may be nested ({MAX_DEPTH} levels)")]
    Depth,
    /// A `~` that is followed by neither `0` nor `1`.
    #[error("\"~\" in a JSON pointer must be written \"~0\" (and \"/\" in a key \"~1\")")]
    Escape,
}

/// The keys that a pointer leads through, at least one, with their escapes resolved.
///
/// # Errors
/// [`PointerFault`].
pub fn keys(pointer: &str) -> Result<Vec<String>, PointerFault> {
    let path = pointer.strip_prefix('/').ok_or(PointerFault::Start)?;
    let keys: Vec<&str> = path.split('/').collect();
    if keys.len() > MAX_DEPTH {
        return Err(PointerFault::Depth);
    }
    keys.into_iter().map(unescaped).collect()
}

fn unescaped(written: &str) -> Result<String, PointerFault> {
    let mut key = String::with_capacity(written.len());
    let mut letters = written.chars();
    while let Some(letter) = letters.next() {
        key.push(match (letter, letter == '~') {
            (_, true) => match letters.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => return Err(PointerFault::Escape),
            },
            (letter, false) => letter,
        });
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unescaped_and_faults_are_told_apart() {
        let of = |keys: &[&str]| Ok(keys.iter().map(ToString::to_string).collect());
        assert_eq!(keys("/a/b~1c~0d/0"), of(&["a", "b/c~d", "0"]));
        assert_eq!(keys("/~01"), of(&["~1"]));
        assert_eq!(keys("/"), of(&[""]));
        assert_eq!(keys(&"/a".repeat(MAX_DEPTH)).map(|keys| keys.len()), Ok(MAX_DEPTH));
        assert_eq!(keys(&"/a".repeat(MAX_DEPTH + 1)), Err(PointerFault::Depth));
        assert_eq!((keys(""), keys("a/b")), (Err(PointerFault::Start), Err(PointerFault::Start)));
        assert_eq!(
            (keys("/a~"), keys("/~2")),
            (Err(PointerFault::Escape), Err(PointerFault::Escape))
        );
    }
}
