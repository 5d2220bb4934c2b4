//! Lists of what is excepted from a rule, a line for each file or folder: `path number reason`. A
//! path that ends with `/` is a folder, and its number that of all files in it. A list only becomes
//! shorter: what it allows and nothing needs any more is a fault as well.

use super::reading::read;
use std::collections::BTreeMap;

/// How often a rule may be broken, by the path of a file or folder.
pub(crate) struct Exceptions {
    /// Where the list is.
    list: &'static str,
    allowed: BTreeMap<String, usize>,
    /// What is wrong with the list itself.
    faults: Vec<String>,
}

impl Exceptions {
    /// Those of this list.
    pub(crate) fn of(list: &'static str) -> Exceptions {
        Exceptions::parsed(list, &read(list))
    }

    fn parsed(list: &'static str, text: &str) -> Exceptions {
        let (mut allowed, mut faults) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (path, number) =
                (words.next(), words.next().and_then(|number| number.parse().ok()));
            let (Some(path), Some(number)) = (path, number) else { panic!("{list}: {line}") };
            if words.next().is_none_or(|reason| reason.trim().is_empty()) {
                faults.push(format!("{list}: {path} gives no reason"));
            }
            allowed.insert(path.to_owned(), number);
        }
        Exceptions { list, allowed, faults }
    }

    /// The path under which a file is listed; its own where it is not.
    fn place(&self, path: &str) -> String {
        let covers = |place: &&String| {
            place.as_str() == path || place.ends_with('/') && path.starts_with(place.as_str())
        };
        self.allowed.keys().find(covers).cloned().unwrap_or_else(|| path.to_owned())
    }

    /// Where the rule is broken more often than listed, or less. `found`: how often, by file;
    /// `what` these are, and what to do `instead`.
    pub(crate) fn faults<'a>(
        self,
        found: impl Iterator<Item = (&'a str, usize)>,
        what: &str,
        instead: &str,
    ) -> Vec<String> {
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        for (path, number) in found {
            *numbers.entry(self.place(path)).or_default() += number;
        }
        let Exceptions { list, mut allowed, mut faults } = self;
        for (place, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
            let allowed = allowed.remove(&place).unwrap_or(0);
            if number > allowed {
                faults.push(format!("{place}: {number} {what}, not {allowed}: {instead}"));
            } else if number < allowed {
                faults.push(format!("{place}: {number} {what}, not {allowed}: say so in {list}"));
            }
        }
        faults.extend(allowed.keys().map(|path| format!("{path}: no {what}; take it off {list}")));
        faults
    }
}

#[test]
fn more_than_listed_fewer_and_none_are_faults_and_so_is_a_line_without_a_reason() {
    let list = "a/ 2 because\nb.rs 1 \nc.rs 1 because\nd.rs 2 because\ne.rs 1 because";
    let found = [("a/x.rs", 1), ("a/y.rs", 1), ("b.rs", 2), ("c.rs", 0), ("d.rs", 1), ("f.rs", 1)];
    let faults = Exceptions::parsed("LIST", list).faults(found.into_iter(), "errors", "mend them");
    let expected = [
        "LIST: b.rs gives no reason",
        "b.rs: 2 errors, not 1: mend them",
        "d.rs: 1 errors, not 2: say so in LIST",
        "f.rs: 1 errors, not 0: mend them",
        "c.rs: no errors; take it off LIST",
        "e.rs: no errors; take it off LIST",
    ];
    assert_eq!(faults, expected);
}
