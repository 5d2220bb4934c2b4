//! Prometheus text (version 0.0.4), written: families of samples, each with what it means.
//!
//! Names and words for what a family means are the program's own, or were checked; the values of
//! labels may be anything and are escaped. Knows nothing of what is shown.

use std::fmt::{Display, Write};

/// A text that grows by families. The samples of one follow its first line.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// What the samples of a family are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FamilyKind {
    /// A number that grows from the start of the process on; its name ends in `_total`.
    Counter,
    /// A number that comes and goes.
    Gauge,
}

impl Exposition {
    /// Begins a family; `help`: a sentence on one line, without a backslash.
    pub(crate) fn family(&mut self, name: &str, kind: FamilyKind, help: &str) {
        let kind = match kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
        };
        // Writing to a text does not fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family that was begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let mut written = String::new();
        labels.iter().for_each(|(label, value)| push_label(&mut written, label, value));
        push_sample(&mut self.text, name, &written, value);
    }

    /// Samples of the family that was begun last, as [`push_sample`] wrote them.
    pub(crate) fn samples(&mut self, written: &str) {
        self.text.push_str(written);
    }

    /// All of it.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Adds a sample; `labels` as [`push_label`] wrote them.
pub(crate) fn push_sample(out: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

/// Adds a label to others.
pub(crate) fn push_label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_say_what_they_are_and_labels_are_escaped() {
        let mut out = Exposition::default();
        out.family("a_total", FamilyKind::Counter, "How often.");
        out.sample("a_total", &[], 7);
        out.family("b", FamilyKind::Gauge, "How much.");
        out.sample("b", &[("x", "say \"hi\"\\\n\tü{}"), ("y", "")], 0.5);
        let mut written = String::new();
        push_sample(&mut written, "b", "", "1e9");
        out.samples(&written);
        let expected = "# HELP a_total How often.\n# TYPE a_total counter\na_total 7\n\
                        # HELP b How much.\n# TYPE b gauge\n\
                        b{x=\"say \\\"hi\\\"\\\\\\n\tü{}\",y=\"\"} 0.5\nb 1e9\n";
        assert_eq!(out.into_text(), expected);
    }
}
