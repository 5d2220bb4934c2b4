//! Values that may hold a secret: a type that cannot be printed, and texts shown without what could
//! be one.
//!
//! Promises: a [`Secret`] leaves only through [`Secret::reveal`]; printed, logged or serialised it
//! is `***`. What [`masked`] and [`quoted`] give back holds no user information of anything like a
//! URL, with or without scheme, and no value after a word that sounds like a secret. It errs on the
//! side of showing too little.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What stands for a value that is not shown.
pub(super) const HIDDEN: &str = "***";

/// Words in a key that mark its value as secret.
const SECRET_WORDS: [&str; 19] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "token",
    "jaas",
    "credential",
    "username",
    "authorization",
    "private",
    "ssl.key",
    "ssl_key",
    "oauthbearer.config",
    "api_key",
    "apikey",
    "access_key",
    "accesskey",
];

/// A letter of a message is shown up to here.
const LONGEST: usize = 80;

/// Text that may hold a secret. It cannot be printed: `Debug` and serialising give `***`, and there
/// is no `Display`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whoever connects with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.is_empty() { "\"\"" } else { HIDDEN })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

/// Whether the value of this key must not be shown.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// The text without what may be a secret: `redis://***@host:6379`.
#[must_use]
pub fn masked(text: &str) -> String {
    after_words(&without_user(text))
}

/// A foreign value for a message: in quotation marks, masked, on one line, not longer than some
/// words.
#[must_use]
pub fn quoted(text: &str) -> String {
    let shown = masked(text);
    match shown.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &shown[..end]),
        None => format!("{shown:?}"),
    }
}

/// Whether a text can be shown as it is.
pub(super) fn is_plain(text: &str) -> bool {
    masked(text) == text
}

/// Without what stands before the last `@`: all of a password in which `@` was not escaped, of
/// several URLs all but the last.
fn without_user(text: &str) -> String {
    let scheme_end = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(scheme_end);
    match rest.rsplit_once('@') {
        // There is no user.
        Some(("", _)) => text.to_owned(),
        Some((_, place)) => format!("{scheme}{HIDDEN}@{place}"),
        None if scheme.is_empty() => text.to_owned(),
        None => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (hosts, path) = rest.split_at(end);
            // What should be a host with its port, and is not, may be a user with a password whose
            // `@` is missing.
            if hosts.split(',').all(is_host) {
                text.to_owned()
            } else {
                format!("{scheme}{HIDDEN}{path}")
            }
        }
    }
}

/// `host`, `host:port`, `[::1]:port`, or nothing.
pub(super) fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_%:".contains(&byte);
    name.bytes().all(letters)
        && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        && text != ":"
}

/// Nothing is shown after a word that sounds like a secret and is followed by a value:
/// `?password=…`, `password: …`.
fn after_words(text: &str) -> String {
    let low = text.to_ascii_lowercase();
    let begins = SECRET_WORDS
        .iter()
        .flat_map(|word| low.match_indices(word).map(|(at, word)| at + word.len()));
    let value = |end: usize| {
        let rest = &low[end..];
        let name = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"._-\"' \t".contains(byte))
            .count();
        let sign = rest[name..].starts_with(['=', ':']).then_some(end + name + 1);
        sign.filter(|at| !text[*at..].trim().is_empty())
    };
    match begins.filter_map(value).min() {
        Some(at) => format!("{}{HIDDEN}", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_like_a_url_is_shown_without_its_user() {
        for (text, shown) in [
            ("postgres://u:hush@h:1/d?sslmode=disable", "postgres://***@h:1/d?sslmode=disable"),
            ("postgres://u:hu@sh@h/d", "postgres://***@h/d"),
            ("postgres://u:hu/sh@h/d", "postgres://***@h/d"),
            ("redis://:hush@h", "redis://***@h"),
            ("redis://:hush", "redis://***"),
            ("redis://user:hush/0", "redis://***/0"),
            ("user:hush@127.0.0.1:6379", "***@127.0.0.1:6379"),
            (":hush@h", "***@h"),
            ("redis://u:hush@a,redis://u:hush@b:1", "redis://***@b:1"),
            ("unix:///run/redis.sock?pass=hush", "unix:///run/redis.sock?pass=***"),
            ("redis://h?db=1&password=hush&x=1", "redis://h?db=1&password=***"),
            ("host=h password=hush", "host=h password=***"),
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://[::1]:6379", "redis://[::1]:6379"),
            ("127.0.0.1:9092,b:9092", "127.0.0.1:9092,b:9092"),
            ("/user/id", "/user/id"),
            ("passes", "passes"),
            ("@key", "@key"),
            ("", ""),
        ] {
            assert_eq!(masked(text), shown);
            assert!(!quoted(text).contains("hush"));
        }
        assert_eq!(quoted("a\u{1b}[1m"), "\"a\\u{1b}[1m\"");
        assert!(quoted(&"x".repeat(1_000)).len() < 100);
    }

    #[test]
    fn a_secret_cannot_be_printed() {
        let secret = Secret::from("hush");
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "*** Some(\n    ***,\n)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.reveal(), "hush");
        assert_eq!(format!("{:?}", Secret::default()), "\"\"");
    }

    proptest! {
        #[test]
        fn a_password_is_shown_in_no_form_of_a_url(
            password in "[A-Za-z0-9]{6,12}", user in "[a-z]{0,4}", scheme in prop::sample::select(vec!["", "redis://", "rediss://", "postgres://", "unix://", "x+y://"]),
            form in 0..4_u8, tail in "(/[0-9])?(\\?db=1)?",
        ) {
            let password = format!("#{password}#");
            let text = match form {
                0 => format!("{scheme}{user}:{password}@host:1{tail}"),
                1 => format!("{scheme}{password}@host{tail}"),
                2 => format!("redis://{user}:{password}{tail}"),
                _ => format!("{scheme}host/0?x=1&auth_token={password}"),
            };
            // Characters that end an authority make the rest a path: those of a password without @
            // cannot be told from one.
            let masked = masked(&text.replace('#', "!"));
            prop_assert!(!masked.contains(&password.replace('#', "!")), "{} gave {}", text, masked);
        }
    }
}
