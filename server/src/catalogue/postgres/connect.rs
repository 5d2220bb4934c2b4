//! Where PostgreSQL is: the URL read, the pool over it, a connection of its own for migrations, and
//! errors as sentences.
//!
//! No sentence carries the URL or the password. The connection is encrypted where the URL asks for
//! it (`tls`); without, the password never crosses it in clear where the server asks for SCRAM, its
//! default since version 14.

use super::tls;
use crate::catalogue::CatalogueError;
use deadpool_postgres::{
    Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use std::error::Error as _;
use std::time::Duration;
use tally_engine::outage::with_causes;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Open connections. Lookups take a fraction of a millisecond: more would only queue inside the
/// server.
const CONNECTIONS: usize = 8;

/// How long reaching one host may take, unless the URL says `connect_timeout`.
const CONNECT: Duration = Duration::from_secs(2);

/// How long all of connecting may take, several hosts and the password included.
pub(super) const REACH: Duration = Duration::from_secs(5);

/// How long a call waits for a connection that others use.
const WAIT: Duration = Duration::from_secs(1);

/// How long what was sent may stay without acknowledgement; then the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Which database, as whom.
#[derive(Clone)]
pub struct Settings {
    config: Config,
    place: String,
    user: String,
    /// `None`: connections are not encrypted.
    tls: Option<MakeRustlsConnect>,
}

/// Without the password.
impl std::fmt::Debug for Settings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Settings")
            .field("place", &self.place)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, and whom to trust where it asks for
    /// encryption; connects to nothing.
    ///
    /// # Errors
    /// [`CatalogueError::Refused`] says what to write instead, without the URL.
    pub fn parse(url: &str) -> Result<Settings, CatalogueError> {
        let (url, parameters) = tls::split_url(url).map_err(|what| wrong(&what))?;
        let mut config: Config = url.parse().map_err(|error: Error| unreadable(&error))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("the URL names no host"));
        }
        // "prefer" would encrypt for whoever answers, which keeps out nobody.
        config.ssl_mode(if parameters.required { SslMode::Require } else { SslMode::Disable });
        let tls = tls::connector(&parameters).map_err(|what| wrong(&what))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("tally");
        }
        config.tcp_user_timeout(UNACKNOWLEDGED);
        let (place, user) = (place(&config), config.get_user().unwrap_or("").to_owned());
        Ok(Settings { config, place, user, tls })
    }

    /// Host, port and database, for messages.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn pool(&self) -> Result<Pool, CatalogueError> {
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = self.config.clone();
        let manager = match self.tls.clone() {
            Some(tls) => Manager::from_config(config, tls, manager),
            None => Manager::from_config(config, NoTls, manager),
        };
        let timeouts = Timeouts { wait: Some(WAIT), create: Some(REACH), recycle: Some(WAIT) };
        let pool = Pool::builder(manager).max_size(CONNECTIONS).timeouts(timeouts);
        pool.runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| CatalogueError::Refused(error.to_string()))
    }

    /// A connection outside the pool, which ends with the value.
    pub(super) async fn connect(&self) -> Result<Connected, CatalogueError> {
        match self.tls.clone() {
            Some(tls) => self.connect_with(tls).await,
            None => self.connect_with(NoTls).await,
        }
    }

    async fn connect_with<T>(&self, tls: T) -> Result<Connected, CatalogueError>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let connected = tokio::time::timeout(REACH, self.config.connect(tls)).await;
        let connected = connected.map_err(|_| self.silent())?;
        let (client, connection) = connected.map_err(|error| self.fault(&error))?;
        // What goes wrong on it is told by the calls.
        let driven = tokio::spawn(async move { drop(connection.await) });
        Ok(Connected { client, driven })
    }

    /// What an error means: whether waiting mends it, and if not, who must do what.
    pub(super) fn fault(&self, error: &Error) -> CatalogueError {
        let (place, user, told) = (&self.place, &self.user, sentence(error));
        let code = error.code();
        if let Some(why) = tls::refusal(error) {
            return CatalogueError::Refused(format!("PostgreSQL at {place}: {why}"));
        }
        if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION]
            .iter()
            .any(|own| code == Some(own))
        {
            let hint = if told.contains("no encryption") {
                "; add sslmode=verify-full to catalogue.postgres_url (POSTGRES_URL), or allow it \
                 for this address in pg_hba.conf"
            } else {
                "; correct user or password in catalogue.postgres_url (POSTGRES_URL)"
            };
            return CatalogueError::Refused(format!(
                "PostgreSQL at {place} does not let user \"{user}\" in: {told}{hint}"
            ));
        }
        if code == Some(&SqlState::INVALID_CATALOG_NAME) {
            return CatalogueError::Refused(format!(
                "PostgreSQL at {place}: {told}; create it (createdb), or name another in \
                 catalogue.postgres_url (POSTGRES_URL)"
            ));
        }
        let kind = error.to_string();
        if told.contains("channel binding") {
            return CatalogueError::Refused(format!(
                "PostgreSQL at {place}: {told}; the server, or a pooler before it, does not offer \
                 channel binding: remove channel_binding=require from catalogue.postgres_url \
                 (POSTGRES_URL)"
            ));
        }
        if ["invalid configuration", "authentication error"].contains(&kind.as_str()) {
            return CatalogueError::Refused(format!(
                "PostgreSQL at {place}: {told}; correct user and password in \
                 catalogue.postgres_url (POSTGRES_URL)"
            ));
        }
        CatalogueError::Unavailable(format!("PostgreSQL at {place}: {told}"))
    }

    /// The same for what the pool says.
    pub(super) fn pool_fault(&self, error: PoolError) -> CatalogueError {
        match error {
            PoolError::Backend(error) => self.fault(&error),
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => CatalogueError::Overloaded,
            PoolError::Timeout(_) => self.silent(),
            other => CatalogueError::Unavailable(format!("PostgreSQL at {}: {other}", self.place)),
        }
    }

    /// No answer at all.
    pub(super) fn silent(&self) -> CatalogueError {
        CatalogueError::Unavailable(format!("PostgreSQL at {} does not answer", self.place))
    }
}

/// A connection of its own.
pub(super) struct Connected {
    pub(super) client: Client,
    driven: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // Closes the socket also when the server does not answer; locks end with it.
        self.driven.abort();
    }
}

/// What a driver's error says, with what caused it.
pub(super) fn sentence(error: &Error) -> String {
    if let Some(told) = error.as_db_error() {
        return format!("{} ({})", told.message(), told.code().code());
    }
    with_causes(error)
}

fn unreadable(error: &Error) -> CatalogueError {
    let told = error.source().map(ToString::to_string).unwrap_or_default();
    match told.as_str() {
        // These name a key and no value. Others quote what stands at a wrong place, which may be a
        // part of a password.
        told if told.starts_with("invalid value for option") => wrong(told),
        _ => wrong(
            "it cannot be parsed; in user and password, escape characters that a URL cannot \
             contain, as %2F",
        ),
    }
}

fn wrong(what: &str) -> CatalogueError {
    CatalogueError::Refused(format!(
        "catalogue.postgres_url (POSTGRES_URL): {what}; write \
         postgres://USER:PASSWORD@HOST:5432/DATABASE"
    ))
}

/// `127.0.0.1:5432/tally`; of several hosts all.
fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |n: usize| ports.get(n).or(ports.first()).copied().unwrap_or(5432);
    let mut hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(n, host)| match host {
            Host::Tcp(name) => format!("{name}:{}", port(n)),
            Host::Unix(folder) => format!("{}:{}", folder.display(), port(n)),
        })
        .collect();
    if hosts.is_empty() {
        hosts = config
            .get_hostaddrs()
            .iter()
            .enumerate()
            .map(|(n, address)| format!("{address}:{}", port(n)))
            .collect();
    }
    let database = config
        .get_dbname()
        .or(config.get_user())
        .map_or_else(String::new, |name| format!("/{name}"));
    hosts.join(",") + &database
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn the_place_is_named_without_the_password() {
        let places = [
            ("postgres://u:hush@db.example:6000/tally", "db.example:6000/tally"),
            ("postgresql://u:hush@db", "db:5432/u"),
            ("postgres://u:hush@a:1,b:2/t?target_session_attrs=read-write", "a:1,b:2/t"),
            ("postgres://u:hush@%2Frun%2Fpostgresql/t", "/run/postgresql:5432/t"),
        ];
        for (url, place) in places {
            let settings = Settings::parse(url).unwrap();
            assert_eq!(settings.place(), place);
            assert!(!format!("{settings:?}").contains("hush"));
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_the_password() {
        let cases = [
            (
                "postgres://u:hush@h/t?sslmode=hushed",
                "sslmode must be disable, prefer, require or verify-full",
            ),
            (
                "postgres://u:hush@h/t?sslmode=verify-full&sslrootcert=/nowhere",
                "sslrootcert /nowhere cannot be read",
            ),
            ("postgres://u:hush@h/t?colour=1", "unsupported parameter \"colour\""),
            (
                "postgres://u:hush@h/t?sslcert=%2Fhush",
                "client certificates are not supported: remove sslcert",
            ),
            ("postgres://u:hush@h/t?sslnegotiation=direct", "remove sslnegotiation"),
            ("postgres://u:hush@h/t?channel_binding=require", "add sslmode=verify-full"),
            (
                "postgres://u:hush@h/t?channel_binding=hushed",
                "channel_binding must be disable, prefer or require",
            ),
            ("postgres://u:hush@h/t?gssencmode=require", "remove gssencmode"),
            ("postgres://u:hush@h/t?hush%20ed=1", "unsupported parameter: remove it"),
            ("postgres://u:hush@h/t?keepalives=hushed", "invalid value for option `keepalives`"),
            ("postgres://u:hush@h:port/t", "write postgres://"),
            ("postgres:///t", "names no host"),
        ];
        for (url, words) in cases {
            let told = Settings::parse(url).unwrap_err().to_string();
            assert!(told.contains(words) && !told.contains("hush"), "{url}: {told}");
        }
    }
}
