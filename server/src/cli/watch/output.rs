//! Where the updates of a watched metric go: to a terminal, on which the newest is drawn in place
//! of the one before, or as a line each to whoever reads stdout.
//!
//! With lines of results alone, the window and the warnings go to stderr, when they are others than
//! before. Knows no connection.

use super::screen::{ScreenText, fit};
use crate::cli::output::tame;
use crate::cli::query::warning_lines;
use serde::Deserialize;
use serde_json::Value;

/// An answer, each part as the engine wrote it.
pub(super) struct WatchedAnswer<'m> {
    pub(super) result: &'m str,
    pub(super) meta: &'m str,
    pub(super) warnings: &'m str,
}

/// What is shown of `meta`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WatchedMeta {
    window: WatchedWindow,
    as_of: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WatchedWindow {
    from: Option<String>,
    to: Option<String>,
}

impl WatchedAnswer<'_> {
    fn meta(&self) -> WatchedMeta {
        serde_json::from_str(self.meta).unwrap_or_default()
    }

    /// The window that was counted, in words; empty: all.
    pub(super) fn window(&self) -> String {
        let WatchedWindow { from, to } = self.meta().window;
        match (from, to) {
            (None, None) => String::new(),
            (Some(from), None) => format!("window: from {}", tame(&from)),
            (None, Some(to)) => format!("window: until {}", tame(&to)),
            (Some(from), Some(to)) => format!("window: {} to {}", tame(&from), tame(&to)),
        }
    }

    /// Window and warnings, a line each.
    fn words(&self) -> Vec<String> {
        let warnings = serde_json::from_str::<Value>(self.warnings).unwrap_or_default();
        let window = Some(self.window()).filter(|window| !window.is_empty());
        window.into_iter().chain(warning_lines(&warnings)).collect()
    }
}

/// Takes updates. Each call returns whether anybody sees them.
pub(super) trait WatchOutput {
    /// An answer that differs from the one before.
    fn update(&mut self, answer: &WatchedAnswer<'_>) -> bool;

    /// The answer is still the one before, after something was noted.
    fn again(&mut self) -> bool;

    /// A line for people.
    fn note(&mut self, line: &str);

    /// A line for people that stays right.
    fn keep(&mut self, line: &str);
}

/// What a line holds.
pub(super) enum LineForm {
    /// The result.
    Result,
    /// The whole answer, which begins with these members.
    Whole { question: String },
}

/// A line for each update.
pub(super) struct LineOutput<'o> {
    form: LineForm,
    /// Takes a line of output; false: nobody reads it.
    out: &'o mut dyn FnMut(&str) -> bool,
    /// Takes a line for people.
    say: &'o mut dyn FnMut(&str),
    /// The words that were said last.
    said: Vec<String>,
}

impl<'o> LineOutput<'o> {
    pub(super) fn new(
        form: LineForm,
        out: &'o mut dyn FnMut(&str) -> bool,
        say: &'o mut dyn FnMut(&str),
    ) -> LineOutput<'o> {
        LineOutput { form, out, say, said: Vec::new() }
    }
}

impl WatchOutput for LineOutput<'_> {
    fn update(&mut self, answer: &WatchedAnswer<'_>) -> bool {
        let WatchedAnswer { result, meta, warnings } = answer;
        let LineForm::Whole { question } = &self.form else {
            let words = answer.words();
            if words != self.said {
                words.iter().for_each(|line| (self.say)(line));
                self.said = words;
            }
            return (self.out)(result);
        };
        let line =
            format!("{{{question},\"result\":{result},\"meta\":{meta},\"warnings\":{warnings}}}");
        (self.out)(&line)
    }

    fn again(&mut self) -> bool {
        true
    }

    fn note(&mut self, line: &str) {
        (self.say)(line);
    }

    fn keep(&mut self, line: &str) {
        (self.say)(line);
    }
}

/// A screen that is drawn again.
pub(super) struct ScreenOutput<'o> {
    title: String,
    /// Columns and rows.
    size: &'o mut dyn FnMut() -> (usize, usize),
    /// Draws lines in place of those before; false: nobody sees them.
    draw: &'o mut dyn FnMut(&[String]) -> bool,
    as_of: String,
    result: Option<String>,
    words: Vec<String>,
    kept: Option<String>,
    noted: Option<String>,
}

impl<'o> ScreenOutput<'o> {
    /// One that shows nothing yet. `title`: what is asked, on one line.
    pub(super) fn new(
        title: String,
        size: &'o mut dyn FnMut() -> (usize, usize),
        draw: &'o mut dyn FnMut(&[String]) -> bool,
    ) -> ScreenOutput<'o> {
        let (as_of, result, words) = (String::new(), None, Vec::new());
        ScreenOutput { title, size, draw, as_of, result, words, kept: None, noted: None }
    }

    fn show(&mut self) -> bool {
        let (columns, rows) = (self.size)();
        let below = self.words.iter().chain(&self.kept).chain(&self.noted);
        let below: Vec<&str> = below.map(String::as_str).collect();
        let title = format!("{}   {}", self.title, self.as_of);
        let text = ScreenText { title: &title, result: self.result.as_deref(), below: &below };
        // The cursor needs a row of its own.
        (self.draw)(&fit(&text, columns, rows.saturating_sub(1)))
    }
}

impl WatchOutput for ScreenOutput<'_> {
    fn update(&mut self, answer: &WatchedAnswer<'_>) -> bool {
        self.as_of = tame(&answer.meta().as_of);
        self.result = Some(answer.result.to_owned());
        self.words = answer.words();
        self.again()
    }

    fn again(&mut self) -> bool {
        self.noted = None;
        self.show()
    }

    fn note(&mut self, line: &str) {
        self.noted = Some(tame(line));
        // Who does not see it is noticed with the next update.
        self.show();
    }

    fn keep(&mut self, line: &str) {
        self.kept = Some(tame(line));
    }
}
