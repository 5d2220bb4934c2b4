//! What a Redis store is opened with. No I/O; no text made here shows a password.

use crate::StoreError;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::fmt;
use std::time::Duration;
use tally_config::RedisConfig;
use tally_config::secret::quoted;

/// What a Redis store is opened with.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` URL, or `host` or `host:port`. For a Cluster any of its nodes, or
    /// several after commas. May hold user and password.
    pub url: String,
    /// In place of the URL's port.
    pub port: Option<u16>,
    /// First part of every key, so that several Tallies share a Redis: letters, digits, `_`, `-`,
    /// `.`.
    pub namespace: String,
    /// A commit that would bring a bucket above this many bytes is answered `Full`.
    pub max_bucket_bytes: u64,
    /// Connections held at most; who needs one more waits.
    pub connections: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may be silent, and how long one waits for a connection.
    pub response_timeout: Duration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            port: None,
            namespace: "tally".to_owned(),
            max_bucket_bytes: 1 << 20,
            connections: 8,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url: _,
            port: _,
            namespace,
            max_bucket_bytes,
            connections,
            connect_timeout,
            response_timeout,
        } = self;
        let at = self
            .nodes()
            .map(|nodes| nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>());
        f.debug_struct("RedisSettings")
            .field("at", &at.unwrap_or_default())
            .field("namespace", namespace)
            .field("max_bucket_bytes", max_bucket_bytes)
            .field("connections", connections)
            .field("connect_timeout", connect_timeout)
            .field("response_timeout", response_timeout)
            .finish()
    }
}

impl From<&RedisConfig> for RedisSettings {
    fn from(config: &RedisConfig) -> RedisSettings {
        let RedisConfig { url, port, namespace, max_bucket_bytes, .. } = config;
        RedisSettings {
            url: url.reveal().to_owned(),
            port: (*port > 0).then_some(*port),
            namespace: namespace.clone(),
            max_bucket_bytes: *max_bucket_bytes,
            ..RedisSettings::default()
        }
    }
}

impl RedisSettings {
    /// Where to connect to, at least one.
    pub(super) fn nodes(&self) -> Result<Vec<ConnectionInfo>, StoreError> {
        // What cannot be read may hold a password: it is not shown.
        let fault = || {
            let forms = "redis://[user:password@]host[:port][/database], rediss://… for TLS, or \
                         host[:port]";
            StoreError::Unavailable(format!(
                "the Redis URL cannot be parsed: write it as {forms}, with special characters of \
                 the password as %XX"
            ))
        };
        let node = |text: &str| {
            let url =
                if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
            let node = url.into_connection_info().map_err(|_| fault())?;
            let addr = match (node.addr().clone(), self.port) {
                (ConnectionAddr::Tcp(host, _), Some(port)) => ConnectionAddr::Tcp(host, port),
                (ConnectionAddr::TcpTls { host, insecure, tls_params, .. }, Some(port)) => {
                    ConnectionAddr::TcpTls { host, port, insecure, tls_params }
                }
                (other, _) => other,
            };
            Ok::<_, StoreError>(node.set_addr(addr))
        };
        let texts = self.url.split(',').map(str::trim).filter(|text| !text.is_empty());
        let nodes = texts.map(node).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() { Err(fault()) } else { Ok(nodes) }
    }

    /// What would be refused before anything is connected to: the configuration's key, and a
    /// sentence.
    #[must_use]
    pub fn judge(&self) -> Vec<(&'static str, String)> {
        let url = self.nodes().err().map(|fault| ("redis.url", fault.to_string()));
        let namespace = self.check().err().map(|fault| ("redis.namespace", fault.to_string()));
        url.into_iter().chain(namespace).collect()
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.namespace.is_empty()
            || self.namespace.len() > 64
            || !self.namespace.chars().all(letter)
        {
            return Err(StoreError::Unavailable(format!(
                "{} is not a Redis namespace: use up to 64 letters, digits, _, - and .",
                quoted(&self.namespace)
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
    use super::*;

    fn at(url: &str) -> Result<Vec<String>, StoreError> {
        let settings = RedisSettings { url: url.to_owned(), ..RedisSettings::default() };
        Ok(settings.nodes()?.iter().map(|node| node.addr().to_string()).collect())
    }

    #[test]
    fn urls_and_bare_hosts_are_read() {
        assert_eq!(at("redis://h").unwrap(), ["h:6379"]);
        assert_eq!(at("store.example:7000").unwrap(), ["store.example:7000"]);
        assert_eq!(at("rediss://u:p@h:7/2").unwrap(), ["h:7"]);
        assert_eq!(at("redis://a:1, b:2").unwrap(), ["a:1", "b:2"]);
        let other =
            RedisSettings { url: "h:1".to_owned(), port: Some(2), ..RedisSettings::default() };
        assert_eq!(other.nodes().unwrap()[0].addr().to_string(), "h:2");
        assert!(at("").is_err() && at("http://h").is_err() && at("redis://h:port").is_err());
    }

    #[test]
    fn passwords_are_not_shown() {
        for url in [
            "redis://me:hunter2@h:1",
            "redis://:hunter2@h:port",
            "hunter2://x",
            "redis://u:hunter2@h/x",
        ] {
            let settings = RedisSettings { url: url.to_owned(), ..RedisSettings::default() };
            let shown = format!("{settings:?} {:?}", settings.nodes().err());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn namespaces_are_checked() {
        let with = |namespace: &str| RedisSettings {
            namespace: namespace.to_owned(),
            ..RedisSettings::default()
        };
        assert!(with("team-a.tally_2").check().is_ok());
        assert!(["", "a b", "a{b", "a:b"].iter().all(|bad| with(bad).check().is_err()));
    }
}
