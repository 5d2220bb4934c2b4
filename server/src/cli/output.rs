//! Output: data goes to stdout, everything else to stderr. Nothing here is coloured, and no foreign
//! text that goes through here can control a terminal; except through [`as_it_is`], whose caller
//! takes care of that.

use std::io::{self, IsTerminal, Write};
use tally_engine::terminal::{self, tame_lines};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format;

/// Prints a line of data. A reader that has gone away (`| head`) is not an error.
pub(crate) fn data(line: &str) {
    // JSON stays JSON.
    let tamed =
        if line.starts_with(['{', '[']) { terminal::tame_json(line) } else { tame_lines(line) };
    let _ = writeln!(io::stdout().lock(), "{tamed}");
}

/// Prints a line all of whose control characters are our own.
pub(crate) fn as_it_is(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line of JSON. Returns whether anybody reads it.
pub(crate) fn json_line(line: &str) -> bool {
    writeln!(io::stdout().lock(), "{}", terminal::tame_json(line)).is_ok()
}

/// Prints the beginning of a line of data at once.
pub(crate) fn begin(text: &str) {
    let mut out = io::stdout().lock();
    let _ = write!(out, "{}", tame_lines(text)).and_then(|()| out.flush());
}

/// Prints a question to people, who answer on the same line.
pub(crate) fn ask(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{}", tame_lines(text)).and_then(|()| err.flush());
}

/// Prints a line for people.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", tame_lines(line));
}

/// Draws lines from the top of the terminal on, in place of what is there. Returns whether anybody
/// sees them. Their control characters must be made safe already.
pub(crate) fn redraw(lines: &[String]) -> bool {
    let mut text = String::from("\x1b[H");
    for line in lines {
        // Erased first: behind a full line the cursor still stands on its last character.
        text.push_str("\x1b[K");
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("\x1b[J");
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Columns and rows of the terminal on stdout, if there is one on which lines may be drawn in
/// place.
pub(crate) fn screen_size() -> Option<(usize, usize)> {
    if !(io::stdout().is_terminal() && can_move()) {
        return None;
    }
    match ratatui::crossterm::terminal::size() {
        Ok((columns @ 1.., rows @ 1..)) => Some((columns.into(), rows.into())),
        // It does not know.
        Ok(_) | Err(_) => Some((80, 24)),
    }
}

/// Whether a moving line may be drawn on stderr.
pub(crate) fn lively() -> bool {
    io::stderr().is_terminal() && can_move()
}

/// Whether terminals are ones on which a cursor can be moved.
fn can_move() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term != "dumb")
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

/// A foreign text, made safe and put on one line.
pub(crate) fn tame(text: &str) -> String {
    terminal::tame(text).into_owned()
}

/// The writer of JSON log lines: each is written at once, and contains nothing that controls a
/// terminal.
struct LineWriter<W>(W);

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(terminal::tame_json(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Logs on stderr: text on a terminal, JSON otherwise. `TALLY_LOG` filters (`debug`, `tally=trace`;
/// `tally_store=trace` is one crate). Unless it does, the MCP SDK tells of errors alone: it would
/// have something to say of every request.
pub(crate) fn log(default: &str) {
    let usual = || EnvFilter::new(format!("{default},rmcp=error"));
    let filter = EnvFilter::try_from_env("TALLY_LOG").unwrap_or_else(|_| usual());
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // A second call finds a logger in place, which is fine.
    let _ = if io::stderr().is_terminal() {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        // Each field is made safe by itself, so that our own colours stay and those of foreign
        // texts do not.
        let fields = format::debug_fn(|to, field, value| {
            let value = format!("{value:?}");
            let value = terminal::tame(&value);
            if field.name() == "message" {
                write!(to, "{value}")
            } else {
                write!(to, "{}={value}", field.name())
            }
        });
        let builder = builder.with_writer(io::stderr).fmt_fields(fields.delimited(" "));
        builder.with_ansi(!plain && lively()).try_init()
    } else {
        builder.with_writer(|| LineWriter(io::stderr())).json().try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_400, "12,400"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), text);
        }
    }
}
