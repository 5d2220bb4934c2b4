//! The scripts, and calls of them. A call is sent by its script's hash; a server that does not know
//! it is sent the text.

use redis::{Cmd, Script};
use std::borrow::Cow;

/// A script, compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `commit.lua`.
    Commit,
    /// `read.lua`.
    Read,
    /// `compact.lua`.
    Compact,
    /// `split.lua`.
    Split,
    /// `create.lua`.
    Create,
    /// `point.lua`.
    Point,
    /// `remove.lua`.
    Remove,
    /// `unlist.lua`.
    Unlist,
}

const TEXTS: [(Name, &str); 8] = [
    (Name::Commit, include_str!("commit.lua")),
    (Name::Read, include_str!("read.lua")),
    (Name::Compact, include_str!("compact.lua")),
    (Name::Split, include_str!("split.lua")),
    (Name::Create, include_str!("create.lua")),
    (Name::Point, include_str!("point.lua")),
    (Name::Remove, include_str!("remove.lua")),
    (Name::Unlist, include_str!("unlist.lua")),
];

/// A script's text and hash.
struct Loaded {
    text: String,
    hash: String,
}

/// All scripts.
pub(super) struct Scripts([Loaded; 8]);

impl Scripts {
    pub(super) fn new() -> Self {
        Self::altered(|_, text| text.to_owned())
    }

    /// With each text changed by `alter`.
    pub(super) fn altered(alter: impl Fn(Name, &str) -> String) -> Self {
        Self(TEXTS.map(|(name, text)| {
            let text = alter(name, text);
            Loaded { hash: Script::new(&text).get_hash().to_owned(), text }
        }))
    }

    fn get(&self, name: Name) -> &Loaded {
        &self.0[name as usize]
    }
}

/// One call of a script.
pub(super) struct Call<'a> {
    pub(super) script: Name,
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<Cow<'a, [u8]>>,
}

impl Call<'_> {
    /// By hash.
    pub(super) fn short(&self, scripts: &Scripts) -> Cmd {
        self.command("EVALSHA", &scripts.get(self.script).hash)
    }

    /// With the text, which the server keeps.
    pub(super) fn full(&self, scripts: &Scripts) -> Cmd {
        self.command("EVAL", &scripts.get(self.script).text)
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for arg in &self.args {
            command.arg(&**arg);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_finds_its_text() {
        for (at, (name, _)) in TEXTS.iter().enumerate() {
            assert_eq!(*name as usize, at);
        }
        let scripts = Scripts::new();
        assert!(
            scripts.get(Name::Point).text.contains("pointer")
                && scripts.get(Name::Read).text.contains("no-writes")
        );
    }
}
