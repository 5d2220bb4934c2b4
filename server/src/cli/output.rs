//! Where words go: data to stdout, everything else to stderr. Nothing here is coloured.

use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// A line of data. A reader that went away (`| head`) is not an error.
pub(crate) fn data(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// The beginning of a line of data, seen at once.
pub(crate) fn begin(text: &str) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// A question to people, whose answer comes on the same line.
pub(crate) fn ask(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// A line for people.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether a moving line may be drawn on stderr.
pub(crate) fn lively() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// `1234567` → `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Control characters of foreign texts do not reach the terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Logs on stderr: text on a terminal, JSON otherwise. `TALLY_LOG` filters (`debug`, `tally_engine=trace`).
pub(crate) fn log(default: &str) {
    let filter = EnvFilter::try_from_env("TALLY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second call finds a logger in place, which is as good.
    let _ = if io::stderr().is_terminal() {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        builder.with_ansi(!plain && lively()).try_init()
    } else {
        builder.json().try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_400, "12,400"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
