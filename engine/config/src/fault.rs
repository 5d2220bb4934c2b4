//! What is wrong with a configuration: where, what, and what to write instead. All faults that can
//! be found are found at once.

use super::secret::{HIDDEN, is_plain};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tally_system::terminal::{tame, tame_lines};
use thiserror::Error;

/// Faults that are listed; further ones are counted. Finding them all costs no more than reading
/// the file.
pub(super) const LISTED: usize = 100;

/// The configuration cannot be used. No retry helps before somebody changes it.
#[derive(Clone, Debug, Error)]
#[error("{}", self.lines().join("\n"))]
pub struct ConfigError {
    /// In order of place, at most a hundred; never empty.
    pub faults: Vec<Fault>,
    /// How many more there are.
    pub more: usize,
}

impl ConfigError {
    /// Of one fault.
    #[must_use]
    pub fn of(fault: Fault) -> ConfigError {
        ConfigError { faults: vec![fault], more: 0 }
    }

    /// Of these faults, the first of them listed; `None`: there are none.
    #[must_use]
    pub fn listing(mut faults: Vec<Fault>) -> Option<ConfigError> {
        let more = faults.len().saturating_sub(LISTED);
        faults.truncate(LISTED);
        (!faults.is_empty()).then_some(ConfigError { faults, more })
    }

    /// Every fault with its excerpt, and how many are not listed.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more faults", self.more));
        self.faults.iter().map(ToString::to_string).chain(more).collect()
    }

    /// The first faults on one line, for those who know which file it is: without excerpts and
    /// without folders.
    #[must_use]
    pub fn short(&self) -> String {
        /// Faults in it.
        const FIRST: usize = 5;
        let told = |fault: &Fault| format!("{}: {}", fault.place.short(), tame(&fault.message));
        let mut all: Vec<String> = self.faults.iter().take(FIRST).map(told).collect();
        let more = self.more + self.faults.len().saturating_sub(FIRST);
        if more > 0 {
            all.push(format!("and {more} more"));
        }
        all.join("; ")
    }
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
    /// Path of the key that is at fault, as `document_key` writes it; absent where there is none.
    pub key: Option<String>,
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

impl Place {
    /// Without the file's name and folder: `line 3, column 7`.
    #[must_use]
    pub fn short(&self) -> String {
        match self {
            Place::File(_) => "the file".into(),
            Place::Spot { line, column, .. } => format!("line {line}, column {column}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => write!(out, "default"),
            Place::File(file) => write!(out, "{}", tame(&file.to_string_lossy())),
            Place::Spot { file, line, column } => {
                write!(out, "{}:{line}:{column}", tame(&file.to_string_lossy()))
            }
            Place::Env(name) => write!(out, "environment variable {name}"),
            Place::Flag(name) => write!(out, "flag {name}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, tame(&self.message))?;
        if let Some(excerpt) = &self.excerpt {
            write!(out, "\n{}", tame_lines(excerpt))?;
        }
        Ok(())
    }
}

/// A file's text with its lines, to name spots in it. Naming one costs the logarithm of the file's
/// length.
pub(super) struct Text<'a> {
    file: &'a Path,
    text: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
}

/// What an excerpt may quote.
#[derive(Clone, Copy)]
pub(super) enum Quote<'a> {
    /// Nothing but a key that Tally knows: what else stands there may be a password at a wrong
    /// place.
    Nothing,
    /// A key, whose value is hidden.
    Key(&'a Range<usize>),
    /// A key and its value, if nothing else stands on that line.
    Pair(&'a Range<usize>, &'a Range<usize>),
}

/// A longer line (one huge array, a binary blob) would bury the message.
const WIDEST: usize = 160;

impl<'a> Text<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        let starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Text { file, text, starts }
    }

    /// Line and column of a byte, both from 1.
    pub(super) fn line_column(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte.min(self.text.len()));
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts[line - 1];
        // Where the line is too long to be read, bytes are as good as characters.
        let column = if byte - start > 1 << 12 {
            byte - start
        } else {
            self.text[start..byte].chars().count()
        };
        (line, column + 1)
    }

    /// A fault at a span, with an excerpt as far as it may quote.
    pub(super) fn fault(&self, span: Range<usize>, message: String, quote: Quote<'_>) -> Fault {
        let (line, column) = self.line_column(span.start);
        let excerpt = self.excerpt(line, &span, quote);
        let place = Place::Spot { file: self.file.into(), line, column };
        Fault { place, message, excerpt, key: None }
    }

    fn excerpt(&self, line: usize, span: &Range<usize>, quote: Quote<'_>) -> Option<String> {
        let start = self.starts[line - 1];
        let content = self.text[start..].lines().next().unwrap_or_default();
        if content.len() > WIDEST * 4 || content.chars().count() > WIDEST {
            return None;
        }
        let within =
            |range: &Range<usize>| range.start >= start && range.end <= start + content.len();
        let part = |range: Range<usize>| self.text.get(range).unwrap_or_default();
        let (shown, from) = match quote {
            Quote::Nothing => (known_only(content), start),
            Quote::Key(key) | Quote::Pair(key, _) if !within(key) => (HIDDEN.into(), start),
            Quote::Key(key) | Quote::Pair(key, _) => {
                let (before, name) = (part(start..key.start), part(key.clone()));
                let after = part(key.end..start + content.len());
                let header = before.trim_start().starts_with('[') && !before.contains('=');
                let value = match quote {
                    Quote::Pair(_, value) if within(value) && is_plain(part(value.clone())) => {
                        let rest = part(value.end..start + content.len()).trim_start();
                        (rest.is_empty() || rest.starts_with('#')).then_some(value.end)
                    }
                    _ => None,
                };
                match value {
                    _ if !is_plain(name) => (HIDDEN.into(), start),
                    _ if header && after.trim_start().starts_with(['.', ']']) => (
                        part(start..key.end + after.find(']').map_or(0, |at| at + 1)).to_owned(),
                        start,
                    ),
                    Some(end) if before.trim().is_empty() && end > key.end => {
                        (part(start..end).to_owned(), start)
                    }
                    // What stands before it on this line is another key with its value.
                    _ if !before.trim().is_empty() => (format!("… {name} = {HIDDEN}"), key.start),
                    _ => (format!("{before}{name} = {HIDDEN}"), start),
                }
            }
        };
        let shown: String =
            shown.chars().map(|c| if c == '\t' || c.is_control() { ' ' } else { c }).collect();
        // The caret stands under the spot as far as the spot is shown.
        let at = part(from.min(span.start)..span.start).chars().count()
            + if from > start { 2 } else { 0 };
        let length = shown.chars().count();
        let at = at.min(length);
        let marked = part(span.clone()).lines().next().unwrap_or_default().chars().count();
        let carets = "^".repeat(marked.clamp(1, (length - at).max(1)));
        Some(format!("{line:>5} | {shown}\n{:>5} | {}{carets}", "", " ".repeat(at)))
    }
}

/// Of a line that cannot be read, what cannot be a secret: a known key before `=`, a header of
/// known keys.
fn known_only(content: &str) -> String {
    let known = |key: &str| {
        key.split('.').all(|name| super::document::is_known(name.trim().trim_matches('"')))
    };
    let trimmed = content.trim();
    match content.split_once('=') {
        Some((key, _)) if known(key.trim()) => format!("{key}= {HIDDEN}"),
        None if trimmed.starts_with('[') && known(trimmed.trim_matches(['[', ']'])) => {
            content.to_owned()
        }
        _ => HIDDEN.into(),
    }
}
