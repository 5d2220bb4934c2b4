//! Absolute paths of the server, which are nobody's business outside: in answers only their last part is left.
//!
//! Texts come from everywhere, the system's own errors included, so they are judged as texts: what begins with a folder that lies
//! in the root of the file system, and goes on below it, is a path. JSON pointers and routes do not begin so.

use std::borrow::Cow;

/// Names that stand in routes and pointers whatever the root holds.
const OURS: [&str; 4] = ["api", "params", "problems", "ws"];

/// Knows which folders lie in the root.
#[derive(Debug, Default)]
pub(crate) struct Private {
    roots: Vec<String>,
}

impl Private {
    /// Of this machine.
    pub(crate) fn new() -> Private {
        let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        Private { roots: names.filter(|name| !OURS.contains(&name.as_str())).collect() }
    }

    /// The text without them.
    pub(crate) fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = String::new();
        let mut kept = 0;
        for (at, _) in text.match_indices('/') {
            if at < kept || !begins(text, at) {
                continue;
            }
            let path = &text[at..at + length(&text[at..])];
            let Some((first, _)) = path[1..].split_once('/') else { continue };
            if self.roots.iter().any(|root| root == first) {
                let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                hidden.push_str(&text[kept..at]);
                hidden.push_str("…/");
                hidden.push_str(name);
                kept = at + path.len();
            }
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        hidden.push_str(&text[kept..]);
        Cow::Owned(hidden)
    }
}

/// Whether a slash there is the first of a path: nothing of a word or of another path stands before it.
fn begins(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    before.is_none_or(|before| !before.is_alphanumeric() && !"/._-~%".contains(before))
}

/// How long a path at the beginning of this is.
fn length(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`,;:()[]{}<>|".contains(c);
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn paths_lose_their_folders_and_everything_else_stays() {
        let private = Private { roots: ["home", "tmp", "var"].map(String::from).into() };
        for (text, hidden) in [
            ("/var/lib/tally/db: No such file", "…/db: No such file"),
            ("cannot open \"/home/me/x.so\" (os error 2)", "cannot open \"…/x.so\" (os error 2)"),
            ("/tmp/a and /tmp/b/", "…/a and …/b"),
            ("path=/var/x,/var/y", "path=…/x,…/y"),
            ("/tmp", "/tmp"),
            ("/etc/passwd stays: no root here", "/etc/passwd stays: no root here"),
            ("GET /api/metrics lists them", "GET /api/metrics lists them"),
            ("http://127.0.0.1:8080/var/x", "http://127.0.0.1:8080/var/x"),
            ("/params/limit", "/params/limit"),
            ("a/var/x", "a/var/x"),
            ("„/var/ü“", "„…/ü“"),
            ("", ""),
        ] {
            assert_eq!(private.hide(text), hidden, "{text}");
        }
        assert!(Private::new().hide("/proc/self/fd").starts_with('…'));
    }
}
