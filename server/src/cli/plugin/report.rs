//! One line per check: a mark, a name, what was found.

use super::super::output;
use std::io::IsTerminal;

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds; what was checked.
    Good(String),
    /// It does not hold; how, and what to do.
    Bad(String),
    /// Not checked, because another one failed.
    Skipped,
}

impl Verdict {
    pub(super) fn is_bad(&self) -> bool {
        matches!(self, Verdict::Bad(_))
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self, Verdict::Good(_))
    }

    pub(super) fn detail(&self) -> &str {
        match self {
            Verdict::Good(detail) | Verdict::Bad(detail) => detail,
            Verdict::Skipped => "not checked",
        }
    }
}

/// Prints the line of a check. Marks have a colour on a terminal only.
pub(super) fn print(name: &str, verdict: &Verdict) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    output::as_it_is(&line(
        name,
        verdict,
        std::io::stdout().is_terminal() && output::lively() && !plain,
    ));
}

fn line(name: &str, verdict: &Verdict, colour: bool) -> String {
    let (mark, code) = match verdict {
        Verdict::Good(_) => ("✓", 32),
        Verdict::Bad(_) => ("✗", 31),
        Verdict::Skipped => ("-", 2),
    };
    let mark = if colour { format!("\u{1b}[{code}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    format!("{mark} {name:<12} {}", output::tame(verdict.detail())).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_a_plugin_says() {
        let said = Verdict::Bad("panicked: a\nb\u{1b}[2J".into());
        assert_eq!(line("odd_events", &said, false), "✗ odd_events   panicked: a\\nb\\u{1b}[2J");
        assert_eq!(line("split", &Verdict::Skipped, false), "- split        not checked");
        assert_eq!(
            line("file", &Verdict::Good("1 KiB".into()), true),
            "\u{1b}[32m✓\u{1b}[0m file         1 KiB"
        );
    }
}
