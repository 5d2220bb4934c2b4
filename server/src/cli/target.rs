//! Which engine a command asks.
//!
//! `--url`, else `TALLY_URL`, else a context (`TALLY_CONTEXT`, or the one in use), else `[server]
//! listen` of `./metrics.toml`, else the address by default. The first that says something decides,
//! and nothing after it is read: a broken file that nobody needs harms nothing. Commands that read
//! a configuration take the address of that one. Sends nothing.

use super::Failure;
use super::args::Engine;
use super::client::Client;
use super::context_file::{ContextError, Contexts, Variables};
use super::settings::USUAL_FILE;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tally_engine::files::{self, ReadError};
use toml::{Table, Value};

/// Where an engine listens that nobody configured.
const USUAL: &str = "http://127.0.0.1:8080";

/// A larger file is no configuration.
const LARGEST_FILE: u64 = 1 << 20;

/// An engine to ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its address, as it was written.
    pub(crate) url: String,
    origin: TargetOrigin,
}

/// What named it.
#[derive(Debug, PartialEq, Eq)]
enum TargetOrigin {
    Flag,
    Variable,
    Context(String),
    /// `[server] listen` of a file.
    Listen(PathBuf),
    /// Nothing.
    Usual,
}

/// Why it is unknown which engine is meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// The contexts say nothing that can be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The configuration cannot be read.
    #[error("{}: {what}; correct it, or give --url", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It listens on a port that nobody knows beforehand.
    #[error("[server] listen of {} takes any free port: give --url", .0.display())]
    AnyPort(PathBuf),
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl fmt::Display for TargetOrigin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetOrigin::Flag => out.write_str("--url"),
            TargetOrigin::Variable => out.write_str("TALLY_URL"),
            TargetOrigin::Context(name) => write!(out, "context {name}"),
            TargetOrigin::Listen(file) => write!(out, "[server] listen of {}", file.display()),
            TargetOrigin::Usual => out.write_str("default"),
        }
    }
}

impl Engine {
    /// A client of the engine that is meant.
    ///
    /// # Errors
    /// It is not known which, or its address is none.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.target()?.client()
    }

    /// The engine that is meant.
    ///
    /// # Errors
    /// It is not known which.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        Ok(find(self.url.as_deref(), &variable, Path::new(""))?)
    }
}

impl Target {
    /// What flag, environment or contexts name, if they do.
    ///
    /// # Errors
    /// A context that does not exist, or cannot be read.
    pub(crate) fn named(url: Option<&str>) -> Result<Option<Target>, Failure> {
        Ok(named(url, &variable)?)
    }

    /// The engine of a configuration, which was read from `file` if there was one; `None`: it takes
    /// any free port.
    pub(crate) fn listening(listen: &str, file: Option<&Path>) -> Option<Target> {
        let url = match listen.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => return None,
            Ok(address) => format!("http://{}", reachable(address)),
            Err(_) => format!("http://{listen}"),
        };
        let of_file = |file: &Path| TargetOrigin::Listen(file.to_owned());
        Some(Target { url, origin: file.map_or(TargetOrigin::Usual, of_file) })
    }

    /// The address of a WebSocket of it.
    ///
    /// # Errors
    /// As [`Target::client`].
    pub(crate) fn socket(&self, path: &str) -> Result<String, Failure> {
        // It judges the address.
        self.client()?;
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        Ok(format!("ws://{}{path}", rest.trim_end_matches('/')))
    }

    /// A client of it, whose messages say what named it.
    ///
    /// # Errors
    /// It is not an `http://` address.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let client = Client::new(&self.url).map_err(|fault| {
            let sentence = format!("{}: {fault}", self.origin);
            match self.origin {
                TargetOrigin::Flag => Failure::Usage(sentence),
                _ => Failure::Failed(sentence),
            }
        })?;
        Ok(client.called(&self.to_string()))
    }
}

/// Its address, and what named it if that is not plain to see.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { url, origin } = self;
        let url = url.trim_end_matches('/');
        match origin {
            TargetOrigin::Flag | TargetOrigin::Usual => out.write_str(url),
            other => write!(out, "{url} ({other})"),
        }
    }
}

/// A variable of the environment; one that is set to nothing is not set.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The address under which an engine on this machine is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn find(url: Option<&str>, variables: Variables<'_>, folder: &Path) -> Result<Target, TargetError> {
    if let Some(target) = named(url, variables)? {
        return Ok(target);
    }
    let usual = || Target { url: USUAL.into(), origin: TargetOrigin::Usual };
    Ok(configured(&folder.join(USUAL_FILE))?.unwrap_or_else(usual))
}

fn named(url: Option<&str>, variables: Variables<'_>) -> Result<Option<Target>, TargetError> {
    if let Some(url) = url {
        return Ok(Some(Target { url: url.to_owned(), origin: TargetOrigin::Flag }));
    }
    if let Some(url) = variables("TALLY_URL") {
        return Ok(Some(Target { url, origin: TargetOrigin::Variable }));
    }
    let wanted = variables("TALLY_CONTEXT");
    let contexts = match Contexts::read(variables) {
        Err(ContextError::NoPlace) if wanted.is_none() => return Ok(None),
        read => read?,
    };
    let Some(name) = wanted.or_else(|| contexts.current().map(str::to_owned)) else {
        return Ok(None);
    };
    let url = contexts.url(&name)?.to_owned();
    Ok(Some(Target { url, origin: TargetOrigin::Context(name) }))
}

/// What a configuration file says; nothing else of it is judged.
fn configured(file: &Path) -> Result<Option<Target>, TargetError> {
    let fault = |what: String| TargetError::File { file: file.to_owned(), what };
    let text = match files::read_text(file, LARGEST_FILE) {
        Ok(text) => text,
        Err(ReadError::Missing) => return Ok(None),
        Err(why) => return Err(fault(why.to_string())),
    };
    let table: Table =
        text.parse().map_err(|error: toml::de::Error| fault(error.message().into()))?;
    match table.get("server").and_then(|server| server.get("listen")) {
        None => Ok(None),
        Some(Value::String(listen)) => match Target::listening(listen, Some(file)) {
            Some(target) => Ok(Some(target)),
            None => Err(TargetError::AnyPort(file.to_owned())),
        },
        Some(_) => Err(fault("server.listen is not a text".into())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A folder with these files, which is the current one and has the user's configuration.
    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tally")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn found(
        folder: &TempDir,
        url: Option<&str>,
        set: &[(&str, &str)],
    ) -> Result<String, TargetError> {
        let at = folder.path();
        let variables = |name: &str| match name {
            "XDG_CONFIG_HOME" => Some(at.display().to_string()),
            name => set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()),
        };
        let target = find(url, &variables, at)?;
        Ok(target.to_string().replace(&format!("{}/", at.display()), ""))
    }

    const CONTEXTS: &str = "current = \"a\"\n[contexts.a]\nurl = \"http://a:1/\"\n[contexts.b]\nurl = \"http://b:1\"\n";

    #[test]
    fn the_first_that_says_something_decides() {
        let all = folder(&[
            ("tally/contexts.toml", CONTEXTS),
            ("metrics.toml", "[server]\nlisten = \"127.0.0.1:9\"\n"),
        ]);
        let (url, context) = (("TALLY_URL", "http://u:1"), ("TALLY_CONTEXT", "b"));
        let cases: [(Option<&str>, &[(&str, &str)], &str); 4] = [
            (Some("http://f:1"), &[url, context], "http://f:1"),
            (None, &[url, context], "http://u:1 (TALLY_URL)"),
            (None, &[context], "http://b:1 (context b)"),
            (None, &[], "http://a:1 (context a)"),
        ];
        for (flag, set, expected) in cases {
            assert_eq!(found(&all, flag, set).unwrap(), expected);
        }
        let unused = CONTEXTS.replace("current = \"a\"\n", "");
        let file = folder(&[
            ("tally/contexts.toml", unused.as_str()),
            ("metrics.toml", "[server]\nlisten = \"0.0.0.0:9\"\n[no_section]\n"),
        ]);
        let expected = "http://127.0.0.1:9 ([server] listen of metrics.toml)";
        assert_eq!(found(&file, None, &[]).unwrap(), expected);
        let nothing = folder(&[("metrics.toml", "[kafka]\ngroup = \"g\"\n")]);
        assert_eq!(found(&nothing, None, &[]).unwrap(), USUAL);
        assert_eq!(found(&folder(&[]), None, &[]).unwrap(), USUAL);
    }

    #[test]
    fn what_decides_must_be_right_and_what_does_not_may_be_broken() {
        let broken = folder(&[("tally/contexts.toml", "["), ("metrics.toml", "[")]);
        assert_eq!(found(&broken, Some("http://f:1"), &[]).unwrap(), "http://f:1");
        assert!(found(&broken, None, &[("TALLY_URL", "http://u:1")]).is_ok());
        let told = |folder: &TempDir, set: &[(&str, &str)]| {
            found(folder, None, set).unwrap_err().to_string()
        };
        assert!(told(&broken, &[]).contains("contexts.toml: "));
        let unknown =
            told(&folder(&[("tally/contexts.toml", CONTEXTS)]), &[("TALLY_CONTEXT", "c")]);
        assert!(unknown.starts_with("there is no context \"c\"; those of "), "{unknown}");
        assert!(unknown.ends_with("contexts.toml are a, b"), "{unknown}");
        for (text, words) in [
            ("[", "metrics.toml: "),
            ("[server]\nlisten = 7\n", "server.listen is not a text"),
            ("[server]\nlisten = \"127.0.0.1:0\"\n", "takes any free port"),
        ] {
            let told = told(&folder(&[("metrics.toml", text)]), &[]);
            assert!(told.contains(words) && told.ends_with("give --url"), "{told}");
        }
    }

    #[test]
    fn a_socket_is_below_the_same_address() {
        let of = |url: &str| Target { url: url.into(), origin: TargetOrigin::Flag }.socket("/ws");
        assert_eq!(of("http://127.0.0.1:8080").unwrap(), "ws://127.0.0.1:8080/ws");
        assert_eq!(of("http://shop.example/tally/").unwrap(), "ws://shop.example/tally/ws");
        assert!(of("127.0.0.1:8080").is_err());
    }

    #[test]
    fn an_address_that_is_none_is_told_with_what_named_it() {
        let of = |origin| Target { url: "https://x".into(), origin }.client().err();
        let flag = of(TargetOrigin::Flag);
        assert!(
            matches!(&flag, Some(Failure::Usage(told)) if told.starts_with("--url: https is not")),
            "{flag:?}"
        );
        let context = of(TargetOrigin::Context("a".into()));
        assert!(
            matches!(&context, Some(Failure::Failed(told)) if told.starts_with("context a: ")),
            "{context:?}"
        );
    }
}
