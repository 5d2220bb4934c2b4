//! The file of contexts: names that a user gives to engines, one of which is in use.
//!
//! `$XDG_CONFIG_HOME/tally/contexts.toml`, else `~/.config/tally/contexts.toml`. It belongs to its
//! user alone (0600, its folder 0700); a change replaces it as a whole, so that who reads it never
//! sees half of it. What this version does not know of it stays in it. Asks no engine.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tally_engine::files::{self, ReadError};
use tempfile::NamedTempFile;
use toml::{Table, Value};

/// A larger file is none of contexts.
const LARGEST: u64 = 1 << 20;

/// Longest name of a context.
const LONGEST_NAME: usize = 64;

/// Looks up an environment variable; one that is set to nothing is not set.
pub(crate) type Variables<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The contexts of a user.
#[derive(Debug)]
pub(crate) struct Contexts {
    file: PathBuf,
    /// `current` and `[contexts.NAME]`; checked when it was read.
    table: Table,
}

/// Why contexts cannot be read, changed or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// Neither variable names a folder.
    #[error("there is no place for contexts: set HOME or XDG_CONFIG_HOME")]
    NoPlace,
    /// The file cannot be read.
    #[error("{} {why}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        why: ReadError,
    },
    /// The file says something else.
    #[error("{}: {what}; correct it, or remove the file", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be written.
    #[error("{} cannot be written: {why}", .file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// There is no such context.
    #[error("there is no context {name:?}; {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A name that cannot be one.
    #[error("{0:?} cannot name a context: write letters of ASCII, digits, - _ and ., at most 64")]
    BadName(String),
}

impl Contexts {
    /// Those of the user whose environment this is; none if there is no file.
    ///
    /// # Errors
    /// [`ContextError`].
    pub(crate) fn read(variables: Variables<'_>) -> Result<Contexts, ContextError> {
        let file = place(variables).ok_or(ContextError::NoPlace)?;
        let text = match files::read_text(&file, LARGEST) {
            Ok(text) => text,
            Err(ReadError::Missing) => String::new(),
            Err(why) => return Err(ContextError::Unreadable { file, why }),
        };
        let malformed = |file, what| Err(ContextError::Malformed { file, what });
        match text.parse::<Table>() {
            Err(fault) => malformed(file, fault.message().to_owned()),
            Ok(table) => match fault_of(&table) {
                Some(what) => malformed(file, what),
                None => Ok(Contexts { file, table }),
            },
        }
    }

    /// The context that is in use, unless the environment names another.
    pub(crate) fn current(&self) -> Option<&str> {
        self.table.get("current").and_then(Value::as_str)
    }

    /// The names with their addresses, in their order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let contexts = self.table.get("contexts").and_then(Value::as_table);
        contexts.into_iter().flatten().map(|(name, entry)| (name.as_str(), url_of(entry)))
    }

    /// The address of a context.
    ///
    /// # Errors
    /// [`ContextError::Unknown`].
    pub(crate) fn url(&self, name: &str) -> Result<&str, ContextError> {
        let mut all = self.all();
        all.find(|(known, _)| *known == name).map(|(_, url)| url).ok_or_else(|| self.unknown(name))
    }

    /// Uses a context from now on.
    ///
    /// # Errors
    /// [`ContextError::Unknown`].
    pub(crate) fn choose(&mut self, name: &str) -> Result<(), ContextError> {
        self.url(name)?;
        self.table.insert("current".into(), name.into());
        Ok(())
    }

    /// Adds a context, or gives another address to one. The first one is in use at once; returns
    /// whether it is.
    ///
    /// # Errors
    /// [`ContextError::BadName`].
    pub(crate) fn set(&mut self, name: &str, url: &str) -> Result<bool, ContextError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(ContextError::BadName(name.to_owned()));
        }
        let first = self.all().next().is_none();
        let contexts = self.table.entry("contexts").or_insert_with(|| Table::new().into());
        if let Some(contexts) = contexts.as_table_mut() {
            let entry = contexts.entry(name).or_insert_with(|| Table::new().into());
            if let Some(entry) = entry.as_table_mut() {
                entry.insert("url".into(), url.into());
            }
        }
        if first {
            self.choose(name)?;
        }
        Ok(first)
    }

    /// Removes a context; if it is in use, none is from now on. Returns whether it was.
    ///
    /// # Errors
    /// [`ContextError::Unknown`].
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, ContextError> {
        self.url(name)?;
        if let Some(contexts) = self.table.get_mut("contexts").and_then(Value::as_table_mut) {
            contexts.remove(name);
        }
        let used = self.current() == Some(name);
        if used {
            self.table.remove("current");
        }
        Ok(used)
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`ContextError::Unwritable`].
    pub(crate) fn write(&self) -> Result<(), ContextError> {
        let unwritable = |why| ContextError::Unwritable { file: self.file.clone(), why };
        self.replace().map_err(unwritable)
    }

    fn replace(&self) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Readable by its user only, from the first moment on.
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(self.table.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.file)?;
        Ok(())
    }

    fn unknown(&self, name: &str) -> ContextError {
        let names: Vec<&str> = self.all().map(|(name, _)| name).collect();
        let known = match names.as_slice() {
            [] => "there is none: `tally context set NAME URL` adds one".to_owned(),
            names => format!("those of {} are {}", self.file.display(), names.join(", ")),
        };
        ContextError::Unknown { name: name.to_owned(), known }
    }
}

fn place(variables: Variables<'_>) -> Option<PathBuf> {
    let absolute = |path: String| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let folder = variables("XDG_CONFIG_HOME").and_then(absolute);
    let home = || variables("HOME").and_then(absolute).map(|home| home.join(".config"));
    Some(folder.or_else(home)?.join("tally/contexts.toml"))
}

fn url_of(entry: &Value) -> &str {
    entry.get("url").and_then(Value::as_str).unwrap_or_default()
}

/// What is wrong with the content of the file, if anything is.
fn fault_of(table: &Table) -> Option<String> {
    if table.get("current").is_some_and(|current| !current.is_str()) {
        return Some("`current` is not the name of a context".into());
    }
    let contexts = match table.get("contexts") {
        None => return None,
        Some(Value::Table(contexts)) => contexts,
        Some(_) => return Some("`contexts` is not a table".into()),
    };
    let lacks = |entry: &Value| entry.get("url").and_then(Value::as_str).is_none();
    let (name, _) = contexts.iter().find(|(_, entry)| lacks(entry))?;
    Some(format!("[contexts.{name}] has no url = \"http://…\""))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn read(home: &Path) -> Result<Contexts, ContextError> {
        Contexts::read(&|name| (name == "XDG_CONFIG_HOME").then(|| home.display().to_string()))
    }

    #[test]
    fn the_first_is_in_use_and_what_is_not_known_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut contexts = read(folder.path()).unwrap();
        assert!(
            contexts
                .url("a")
                .unwrap_err()
                .to_string()
                .ends_with("`tally context set NAME URL` adds one")
        );
        assert!(contexts.set("a", "http://a:1").unwrap());
        assert!(!contexts.set("b", "http://b:1").unwrap());
        contexts.write().unwrap();
        let file = folder.path().join("tally/contexts.toml");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("theme = \"dark\"\n{text}key = \"later\"\n")).unwrap();
        let mut contexts = read(folder.path()).unwrap();
        assert_eq!(contexts.all().collect::<Vec<_>>(), [("a", "http://a:1"), ("b", "http://b:1")]);
        assert_eq!(contexts.current(), Some("a"));
        contexts.choose("b").unwrap();
        contexts.set("b", "http://b:2").unwrap();
        contexts.write().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("key = \"later\"") && text.contains("theme = \"dark\""), "{text}");
        let mut contexts = read(folder.path()).unwrap();
        assert_eq!((contexts.current(), contexts.url("b").unwrap()), (Some("b"), "http://b:2"));
        assert!(!contexts.remove("a").unwrap() && contexts.remove("b").unwrap());
        assert_eq!((contexts.current(), contexts.all().count()), (None, 0));
        let unknown = contexts.choose("b").unwrap_err().to_string();
        assert!(unknown.starts_with("there is no context \"b\""), "{unknown}");
    }

    #[test]
    fn names_and_files_that_cannot_be_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut contexts = read(folder.path()).unwrap();
        for name in ["", "a b", "a\u{1b}", "ü", &"x".repeat(65)] {
            assert!(matches!(contexts.set(name, "http://a"), Err(ContextError::BadName(_))));
        }
        let file = folder.path().join("tally/contexts.toml");
        fs::create_dir(folder.path().join("tally")).unwrap();
        for (text, words) in [
            ("current = 1", "`current` is not the name"),
            ("contexts = []", "`contexts` is not a table"),
            ("[contexts.a]\nurl = 1", "[contexts.a] has no url"),
            ("current = ", "contexts.toml: "),
        ] {
            fs::write(&file, text).unwrap();
            let told = read(folder.path()).unwrap_err().to_string();
            assert!(told.contains(words) && told.ends_with("remove the file"), "{told}");
        }
    }

    #[test]
    fn the_file_lies_where_the_environment_says() {
        let of = |xdg: &str, home: &str| {
            place(&|name| match name {
                "XDG_CONFIG_HOME" => Some(xdg.to_owned()).filter(|xdg| !xdg.is_empty()),
                "HOME" => Some(home.to_owned()).filter(|home| !home.is_empty()),
                _ => None,
            })
        };
        assert_eq!(of("/x", "/h"), Some("/x/tally/contexts.toml".into()));
        assert_eq!(of("", "/h"), Some("/h/.config/tally/contexts.toml".into()));
        assert_eq!(of("relative", "/h"), Some("/h/.config/tally/contexts.toml".into()));
        assert_eq!(of("", ""), None);
    }
}
