//! Reads the project: its sources, with comments and texts taken out of the code, and its
//! documents.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of Rust.
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments, strings and characters blanked.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether the whole file is there for tests only.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let folders = ["/tests/", "/simulation/"];
        name == "tests.rs"
            || name.ends_with("_tests.rs")
            || folders.iter().any(|folder| self.path.contains(folder))
    }

    /// The code before its test module, which stands at the end of a file.
    pub(crate) fn without_tests(&self) -> &str {
        let tests = self.code.match_indices("#[cfg(test)]").map(|(at, _)| at);
        let tests = tests.filter(|at| {
            self.code[*at..].lines().take(3).any(|line| line.starts_with("mod tests {"))
        });
        &self.code[..tests.min().unwrap_or(self.code.len())]
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file, by its path from the root.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &str) -> Vec<String> {
    let entries =
        fs::read_dir(root().join(folder)).unwrap_or_else(|fault| panic!("{folder}: {fault}"));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// Paths from the root of all files that end like this, in folders that are not hidden and not
/// built.
pub(crate) fn files(ending: &str) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let own = |name: &String| !["target", "node_modules"].contains(&name.as_str());
        for name in names(&folder).into_iter().filter(own) {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn sources() -> Vec<Source> {
    let all: Vec<Source> = files(".rs")
        .into_iter()
        .map(|path| {
            let text = read(&path);
            Source { code: code_of(&text), path, text }
        })
        .collect();
    assert!(all.len() > 100, "only {} files were found", all.len());
    all
}

/// Words of code: letters, digits and underscores.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Blanks comments, strings and characters; lines stay where they are.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => after(bytes, at + 2, b"*/"),
            b'r' if !follows_word(bytes, at) && raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).unwrap();
                let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
                after(bytes, at + 2 + hashes, &close)
            }
            b'"' => quoted(bytes, at + 1, b'"'),
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => quoted(bytes, at + 1, b'\''),
            b'\'' => match text[at + 1..].chars().next() {
                Some(c) if bytes.get(at + 1 + c.len_utf8()) == Some(&b'\'') => {
                    at + 2 + c.len_utf8()
                }
                _ => at,
            },
            _ => at,
        };
        let blank = end.min(bytes.len());
        code[at..blank].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = blank.max(at + 1);
    }
    String::from_utf8(code).unwrap()
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0
        && (bytes[at - 1].is_ascii_alphanumeric() && bytes[at - 1] != b'b' || bytes[at - 1] == b'_')
}

/// Of `r#"`, the number of `#`.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn after(bytes: &[u8], from: usize, end: &[u8]) -> usize {
    let found = bytes[from..].windows(end.len()).position(|window| window == end);
    found.map_or(bytes.len(), |length| from + length + end.len())
}

fn quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

#[test]
fn code_is_what_is_left() {
    let text = "a /* b */ \"c \\\" d\" 'e' r#\"f \"# 'g: h // i\nb\"j\" '\\'' k";
    let left: Vec<String> = words(&code_of(text)).map(str::to_owned).collect();
    assert_eq!(left, ["a", "g", "h", "b", "k"]);
    assert_eq!(code_of(text).lines().count(), 2);
}
