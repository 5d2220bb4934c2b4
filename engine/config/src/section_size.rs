//! How large a section may be: its keys, how many there are, and the paths of them all.
//!
//! A reader keeps each key with its whole path, and a path may be far longer than the key: so a
//! section of some kilobytes could take gigabytes. Judged before that, at the cost of the section's
//! length alone. What the keys say is not judged here.

use super::sections::SectionFault;
use toml::{Table, Value};

/// Bytes of a key, and of a section's name.
pub const LONGEST_KEY: usize = 256;

/// Keys of a section, in all its tables.
const MOST_KEYS: usize = 2_000;

/// Bytes of the paths of a section's keys together.
const PATHS: usize = 1 << 20;

/// Bytes of the paths of all keys of a file.
pub(super) const FILE_PATHS: usize = 16 << 20;

/// What a section comes to.
#[derive(Default)]
struct Extent {
    keys: usize,
    /// Bytes of all paths.
    paths: usize,
    /// Whether a key is longer than any may be.
    is_long: bool,
}

impl Extent {
    /// `before`: bytes of the path to this table. No deeper than the parser reads.
    fn add(&mut self, table: &Table, before: usize) {
        for (key, value) in table {
            let path = before + key.len() + 1;
            self.keys += 1;
            self.paths = self.paths.saturating_add(path);
            self.is_long |= key.len() > LONGEST_KEY;
            self.add_value(value, path);
        }
    }

    fn add_value(&mut self, value: &Value, path: usize) {
        match value {
            Value::Table(table) => self.add(table, path),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item, path)),
            _ => {}
        }
    }
}

/// What is wrong with the size of a section; `None`: nothing.
#[must_use]
pub fn judge_size(name: &str, section: &Table) -> Option<SectionFault> {
    judge(name, section).err()
}

/// Bytes of the paths of a section's keys.
///
/// # Errors
/// It is larger than a section may be; said without its name.
pub(super) fn judge(name: &str, section: &Table) -> Result<usize, SectionFault> {
    let fault = |detail: String| Err(SectionFault { pointer: String::new(), detail });
    if name.len() > LONGEST_KEY {
        return fault(format!("the name of a section has more than {LONGEST_KEY} bytes"));
    }
    let mut extent = Extent::default();
    extent.add(section, name.len() + 1);
    let Extent { keys, paths, is_long } = extent;
    if is_long {
        return fault(format!("has a key of more than {LONGEST_KEY} bytes"));
    }
    if keys > MOST_KEYS {
        return fault(format!("has {keys} keys in all its tables; at most {MOST_KEYS} are read"));
    }
    if paths > PATHS {
        return fault(format!(
            "has keys whose paths are more than {} KiB together: put long keys less deep",
            PATHS >> 10
        ));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
    use super::*;

    fn of(keys: impl Iterator<Item = String>, around: &[&str]) -> Table {
        let inner: Table = keys.map(|key| (key, Value::Integer(1))).collect();
        around
            .iter()
            .rev()
            .fold(inner, |table, key| Table::from_iter([((*key).to_owned(), Value::Table(table))]))
    }

    fn fault(section: &Table) -> String {
        judge_size("x", section).map(|fault| fault.detail).unwrap_or_default()
    }

    #[test]
    fn keys_are_bounded_in_length_number_and_path() {
        assert_eq!(judge_size("x", &Table::new()), None);
        let key = |bytes: usize| std::iter::once("k".repeat(bytes));
        assert_eq!(fault(&of(key(LONGEST_KEY), &["config"])), "");
        assert!(fault(&of(key(LONGEST_KEY + 1), &["config"])).contains("more than 256 bytes"));
        let many = |count: usize| (0..count).map(|n| format!("k{n}"));
        assert_eq!(fault(&of(many(MOST_KEYS - 1), &["config"])), "");
        let told = fault(&of(many(MOST_KEYS), &["config"]));
        assert!(told.contains("has 2001 keys") && told.contains("at most 2000"), "{told}");
        let long = "l".repeat(LONGEST_KEY);
        let deep = [long.as_str(); 8];
        assert!(fault(&of(many(1_000), &deep)).contains("more than 1024 KiB together"));
        assert_eq!(fault(&of(many(100), &deep)), "");
        let name = "n".repeat(LONGEST_KEY + 1);
        assert!(judge_size(&name, &Table::new()).unwrap().detail.contains("the name"));
    }

    #[test]
    fn tables_in_arrays_count_too() {
        let item = Value::Table(of((0..10).map(|n| format!("k{n}")), &[]));
        let items = Value::Array(vec![Value::Array(vec![item; 201])]);
        assert!(fault(&Table::from_iter([("a".to_owned(), items)])).contains("has 2011 keys"));
    }
}
