//! What to do about a line of readiness that is not in order: one table, by the name of the line.
//!
//! The line itself says what is wrong and where; this says which way out there is. The long form,
//! message by message, is docs/operations.md. Nobody decides anything by these words.

/// The lines, each with what to do.
const REMEDIES: [(&str, &str); 9] = [
    (
        "plugins",
        "put plugin files into [plugins] dir, or name those beside the binary in [plugins] \
         shipped; `tally plugin list` says why files were refused",
    ),
    (
        "store",
        "make the store answer (its server, its memory, the disk); nothing is lost meanwhile, and \
         counting goes on by itself",
    ),
    (
        "log",
        "wait: this passes within moments of a start; if it does not, restart the engine and \
         report the line",
    ),
    (
        "kafka",
        "check [kafka] brokers and topic, and that no other consumer is in the group; the engine \
         tries again by itself",
    ),
    (
        "counting",
        "remove the cause that the line names; what was counted stays, and nothing is skipped: \
         docs/operations.md has a way out for each, under \"Ready, and what to do if not\"",
    ),
    (
        "writing",
        "remove what keeps the log from taking events; counting and answers do not need it",
    ),
    ("previews", "restart the engine, and correct the plugin or the configuration that was tried"),
    (
        "sections",
        "restart the engine with `tally run --disable NAME`, NAME being the metric's, and correct \
         the plugin or the section",
    ),
    ("loading", "take the file out of the plugin folder, and restart the engine"),
];

/// What to do about a line of this name.
pub(super) fn remedy(line: &str) -> Option<&'static str> {
    REMEDIES.iter().find(|(name, _)| *name == line).map(|(_, remedy)| *remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_that_may_fail_has_a_way_out() {
        let always = ["plugins", "store", "log", "kafka", "counting", "writing"];
        for line in always.into_iter().chain(["previews", "sections", "loading"]) {
            assert!(remedy(line).is_some_and(|remedy| remedy.len() > 20), "{line}");
        }
        assert_eq!(remedy("unknown"), None);
    }
}
