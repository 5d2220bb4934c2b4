//! Names of servers and origins of pages, as `[server] allowed_hosts` and `allowed_origins` list
//! them and requests state them.
//!
//! One reader for both sides, so that what is listed and what is stated compare. Case means
//! nothing; a port that is not stated is the scheme's own in an origin, and any in a listed name.

use std::net::{IpAddr, Ipv6Addr};

/// A name or address, and perhaps a port: `tally.example`, `[::1]:8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostName<'a> {
    /// Without brackets and without a last dot.
    pub host: &'a str,
    /// If stated.
    pub port: Option<u16>,
}

impl<'a> HostName<'a> {
    /// Reads it; `None`: it is neither a name nor an address.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<HostName<'a>> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                (address, rest)
            }
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                let letters =
                    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
                let name = name.strip_suffix('.').unwrap_or(name);
                if !letters || name.is_empty() || name.len() > 253 {
                    return None;
                }
                (name, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            _ => return None,
        };
        Some(HostName { host, port })
    }

    /// Whether it can only mean the machine itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
    }

    /// Whether a name as listed covers this one.
    #[must_use]
    pub fn is_covered_by(&self, listed: &HostName<'_>) -> bool {
        self.host.eq_ignore_ascii_case(listed.host)
            && listed.port.is_none_or(|port| self.port == Some(port))
    }
}

/// Where a page comes from: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `https`, not `http`.
    pub secure: bool,
    /// In small letters.
    pub host: String,
    /// The scheme's own if not stated.
    pub port: u16,
}

impl Origin {
    /// Reads `http://HOST[:PORT]` or `https://…`; `None`: it is no such origin.
    #[must_use]
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, host) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        Some(Origin::of(secure, &HostName::parse(host)?))
    }

    /// That of a server.
    #[must_use]
    pub fn of(secure: bool, host: &HostName<'_>) -> Origin {
        let port = host.port.unwrap_or(if secure { 443 } else { 80 });
        Origin { secure, host: host.host.to_ascii_lowercase(), port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_browsers_write_them() {
        let name = |host, port| Some(HostName { host, port });
        for (text, expected) in [
            ("tally.example", name("tally.example", None)),
            ("Tally.example.:8080", name("Tally.example", Some(8080))),
            ("127.0.0.1:1", name("127.0.0.1", Some(1))),
            ("[::1]", name("::1", None)),
            ("[::1]:80", name("::1", Some(80))),
            ("a:", name("a", None)),
        ] {
            assert_eq!(HostName::parse(text), expected, "{text}");
        }
        for text in [
            "", ":80", ".", "a b", "a/b", "a:b", "a:80:80", "a:+1", "a:65536", "::1", "[::1",
            "[x]", "[::1]x", "u@a", "é",
        ] {
            assert_eq!(HostName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_machine_itself_is_loopback() {
        let loopback = |text: &str| HostName::parse(text).is_some_and(|name| name.is_loopback());
        for text in
            ["localhost", "LOCALHOST.:1", "127.0.0.1", "127.9.9.9:5", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(loopback(text), "{text}");
        }
        for text in [
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "x.localhost",
        ] {
            assert!(!loopback(text), "{text}");
        }
    }

    #[test]
    fn origins_compare_by_scheme_host_and_port() {
        assert_eq!(Origin::parse("HTTP://Tally.example"), Origin::parse("http://tally.example:80"));
        assert_eq!(
            Origin::parse("https://tally.example"),
            Origin::parse("https://tally.example:443")
        );
        assert_ne!(Origin::parse("https://tally.example"), Origin::parse("http://tally.example"));
        for text in [
            "null",
            "",
            "file://",
            "tally.example",
            "ftp://a",
            "http://a/",
            "http://a?b",
            "http://u@a",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }
}
