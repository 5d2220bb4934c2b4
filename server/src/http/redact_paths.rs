//! Removes the folders of absolute paths from answers: callers see only the last part of a path.
//!
//! Texts come from everywhere, the system's own errors included, so paths are recognised in the
//! text: whatever begins with a folder in the root of the file system, and continues below it, is a
//! path. JSON pointers and routes do not begin so.

use std::borrow::Cow;

/// Names that routes and pointers begin with, whatever the root holds.
const OURS: [&str; 4] = ["api", "params", "problems", "ws"];

/// Knows the folders in the root of the file system.
#[derive(Debug, Default)]
pub(crate) struct PathRedactor {
    roots: Vec<String>,
}

impl PathRedactor {
    /// Of this machine.
    pub(crate) fn new() -> PathRedactor {
        let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        PathRedactor { roots: names.filter(|name| !OURS.contains(&name.as_str())).collect() }
    }

    /// The text with each path reduced to `…/` and its last part.
    pub(crate) fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut hidden = String::new();
        let mut kept = 0;
        for (at, _) in text.match_indices('/') {
            if at < kept || !starts_path(text, at) {
                continue;
            }
            let path = &text[at..at + path_length(&text[at..])];
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

/// Whether the slash at `at` is the first of a path: neither a word nor another path ends before
/// it.
fn starts_path(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    before.is_none_or(|before| !before.is_alphanumeric() && !"/._-~%".contains(before))
}

/// Length in bytes of the path at the beginning of a text.
fn path_length(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`,;:()[]{}<>|".contains(c);
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::PathRedactor;

    #[test]
    fn paths_lose_their_folders_and_everything_else_stays() {
        let redactor = PathRedactor { roots: ["home", "tmp", "var"].map(String::from).into() };
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
            assert_eq!(redactor.redact(text), hidden, "{text}");
        }
        assert!(PathRedactor::new().redact("/proc/self/fd").starts_with('…'));
    }
}
