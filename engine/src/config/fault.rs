//! What is wrong with a configuration: where, what, and what to write instead. All faults that can be found are found at once.

use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Words in a key that mark its value as secret: such values are never printed.
const SECRET_WORDS: [&str; 7] = ["password", "secret", "token", "jaas", "credential", "ssl.key", "ssl_key"];

/// Whether the value of this key must not be shown.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// The configuration cannot be used.
#[derive(Clone, Debug, Error)]
#[error("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// In order of place; never empty.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong and what to do, one line.
    pub message: String,
    /// The line in question with a caret under the spot; absent outside files.
    pub excerpt: Option<String>,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Nobody set it.
    Default,
    /// In a file as a whole.
    File(PathBuf),
    /// In a file, line and column from 1, column in characters.
    Spot {
        /// The file.
        file: PathBuf,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// An environment variable.
    Env(String),
    /// A command-line flag, as it is written.
    Flag(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => write!(out, "default"),
            Place::File(file) => write!(out, "{}", file.display()),
            Place::Spot { file, line, column } => write!(out, "{}:{line}:{column}", file.display()),
            Place::Env(name) => write!(out, "environment variable {name}"),
            Place::Flag(name) => write!(out, "flag {name}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)?;
        if let Some(excerpt) = &self.excerpt {
            write!(out, "\n{excerpt}")?;
        }
        Ok(())
    }
}

/// A file's text with its lines, to name spots in it.
pub(super) struct Text<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> Text<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Text { file, text }
    }

    /// Line and column of a byte, both from 1.
    pub(super) fn line_column(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(byte.min(self.text.len()))];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
    }

    /// A fault at a span, with excerpt.
    pub(super) fn fault(&self, span: std::ops::Range<usize>, message: String) -> Fault {
        let (line, column) = self.line_column(span.start);
        let excerpt = self.excerpt(line, column, &span);
        Fault { place: Place::Spot { file: self.file.into(), line, column }, message, excerpt }
    }

    fn excerpt(&self, line: usize, column: usize, span: &std::ops::Range<usize>) -> Option<String> {
        /// A longer line (one huge array, a binary blob) would bury the message.
        const WIDEST: usize = 160;
        let content = self.text.lines().nth(line - 1)?;
        let length = content.chars().count();
        if length > WIDEST {
            return None;
        }
        // What follows a secret key stays out of terminals and logs, even when the line is broken.
        let shown: String = match content.split_once('=') {
            Some((key, _)) if key.contains("://") => "***".into(),
            Some((key, _)) if is_secret(content) || (content.contains("://") && content.contains('@')) => {
                format!("{key}= ***")
            }
            None if content.contains("://") => "***".into(),
            _ => content.chars().map(|c| if c == '\t' || c.is_control() { ' ' } else { c }).collect(),
        };
        if column > shown.chars().count() + 1 {
            return Some(format!("{line:>5} | {shown}"));
        }
        let marked = self.text.get(span.clone()).map_or(1, |text| text.lines().next().unwrap_or("").chars().count());
        let room = (shown.chars().count() + 1).saturating_sub(column);
        let carets = "^".repeat(marked.clamp(1, room.max(1)));
        Some(format!("{line:>5} | {shown}\n{:>5} | {}{carets}", "", " ".repeat(column - 1)))
    }
}
