//! Connections: to one server or to a Cluster, a bounded number of them, made when needed and given
//! back.
//!
//! A connection on which anything but an answer came is dropped, and with it the idle ones; the
//! next that is needed is made anew, and checked anew: what answers at an address may be another
//! server now. Nothing is sent twice by itself, except what only reads, and what the server says it
//! did not do because the slot has moved.

use super::fault::{fault, moved};
use super::scripts::{Call, Scripts};
use super::server::{self, ServerFacts};
use super::settings::RedisSettings;
use crate::StoreError;
use parking_lot::{Condvar, Mutex};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{
    Cmd, Connection, ConnectionAddr, ConnectionInfo, ConnectionLike, RedisError, RedisResult, Value,
};
use std::time::{Duration, Instant};

/// Connections of a store.
pub(super) struct Pool {
    target: Target,
    /// One of the servers.
    node: ConnectionInfo,
    /// For messages: host and port, without user and password.
    pub(super) at: String,
    limit: usize,
    connect_timeout: Duration,
    response_timeout: Duration,
    held: Mutex<PooledLinks>,
    freed: Condvar,
}

enum Target {
    Single(Box<ConnectionInfo>),
    Cluster(Box<ClusterClient>),
}

#[derive(Default)]
struct PooledLinks {
    idle: Vec<Link>,
    /// Taken or being made; with the idle ones never more than the limit.
    out: usize,
    /// Raised when connections turned out to be dead: those given back from before are dropped.
    generation: u64,
}

/// One connection; to a Cluster one to each of its masters.
pub(super) enum Link {
    Single(Connection),
    Cluster(Box<ClusterConnection>),
}

impl Link {
    fn command(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(link) => link.req_command(command),
            Self::Cluster(link) => link.req_command(command),
        }?
        .extract_error()
    }

    /// In order, each answered on its own; an error of all: unknown what was done.
    fn commands(&mut self, commands: &[Cmd]) -> RedisResult<Vec<RedisResult<Value>>> {
        if let (Self::Single(link), [_, _, ..]) = (&mut *self, commands) {
            let mut packed = Vec::new();
            commands.iter().for_each(|command| command.write_packed_command(&mut packed));
            let answers = link.req_packed_commands(&packed, 0, commands.len())?;
            return Ok(answers.into_iter().map(Value::extract_error).collect());
        }
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            match self.command(command) {
                Err(error) if !answered(&error) => return Err(error),
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    /// By hash, and with the text where a server does not know it: after a restart, or SCRIPT
    /// FLUSH.
    fn calls(
        &mut self,
        scripts: &Scripts,
        calls: &[&Call<'_>],
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut answers =
            self.commands(&calls.iter().map(|call| call.short(scripts)).collect::<Vec<_>>())?;
        for (answer, call) in answers.iter_mut().zip(calls) {
            if answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT")) {
                *answer = match self.command(&call.full(scripts)) {
                    Err(error) if !answered(&error) => return Err(error),
                    again => again,
                };
            }
        }
        Ok(answers)
    }
}

/// Whether the server answered, if only to refuse: the connection is good, and what was asked was
/// not done.
fn answered(error: &RedisError) -> bool {
    error.code().is_some()
}

impl Pool {
    /// Looks what is there: one server, or a Cluster. Refuses what cannot hold state.
    pub(super) fn open(settings: &RedisSettings) -> Result<(Self, ServerFacts), StoreError> {
        let nodes = settings.nodes()?;
        if nodes.iter().any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. })) {
            // Which cryptography a process uses is chosen once; where it has been, that one stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let (connect, response) = (settings.connect_timeout, settings.response_timeout);
        let mut first = None;
        for node in &nodes {
            let at = node.addr().to_string();
            let found = single(node, connect, response)
                .and_then(|mut link| Ok((server::kind(&mut link)?, link)));
            match found {
                Ok((kind, link)) => {
                    first = Some(Ok((node, at, kind, link)));
                    break;
                }
                Err(error) => first = first.or(Some(Err(fault(&at, &error)))),
            }
        }
        let (node, at, kind, mut link) = first.unwrap_or_else(|| {
            Err(StoreError::Unavailable("no Redis address is given".to_owned()))
        })?;
        server::check_version(&at, &kind.version)?;
        let mut facts =
            ServerFacts { version: kind.version, cluster: kind.cluster, ..ServerFacts::default() };
        let target = if kind.cluster {
            for (host, port) in server::masters(&mut link).map_err(|error| fault(&at, &error))? {
                let master = node.clone().set_addr(at_host(node.addr(), &host, port));
                let at = master.addr().to_string();
                let mut link =
                    single(&master, connect, response).map_err(|error| fault(&at, &error))?;
                server::check_settings(&at, &mut link, &mut facts)?;
                facts.at.push(at);
            }
            // What the client re-sends by itself would not be known here: none.
            let client = ClusterClient::builder(nodes.iter().cloned())
                .retries(0)
                .connection_timeout(connect)
                .response_timeout(response)
                .build();
            Target::Cluster(Box::new(client.map_err(|error| fault(&at, &error))?))
        } else if nodes.len() > 1 {
            return Err(StoreError::Unavailable(format!(
                "several addresses of Redis are given, and {at} is not a Cluster: give only the \
                 master's address"
            )));
        } else {
            server::check_settings(&at, &mut link, &mut facts)?;
            facts.at.push(at.clone());
            Target::Single(Box::new(node.clone()))
        };
        let pool = Self {
            target,
            node: node.clone(),
            at,
            limit: settings.connections.max(1),
            connect_timeout: connect,
            response_timeout: response,
            held: Mutex::default(),
            freed: Condvar::new(),
        };
        Ok((pool, facts))
    }

    /// Asks each server that holds keys, one after the other, on a connection of its own: what is
    /// asked of no key.
    pub(super) fn each_server(
        &self,
        mut ask: impl FnMut(&mut Connection) -> RedisResult<()>,
    ) -> Result<(), StoreError> {
        let connect =
            |node: &ConnectionInfo| single(node, self.connect_timeout, self.response_timeout);
        let said =
            |node: &ConnectionInfo, error: RedisError| fault(&node.addr().to_string(), &error);
        let first = connect(&self.node).and_then(|mut link| match &self.target {
            Target::Single(_) => ask(&mut link).map(|()| Vec::new()),
            Target::Cluster(_) => server::masters(&mut link),
        });
        for (host, port) in first.map_err(|error| said(&self.node, error))? {
            let master = self.node.clone().set_addr(at_host(self.node.addr(), &host, port));
            connect(&master)
                .and_then(|mut link| ask(&mut link))
                .map_err(|error| said(&master, error))?;
        }
        Ok(())
    }

    /// A command that only reads.
    pub(super) fn read(&self, command: &Cmd) -> Result<Value, StoreError> {
        let answer = self.run(true, |link| match link.command(command) {
            Err(error) if !answered(&error) => Err(error),
            answer => Ok(answer),
        })?;
        let answer = match answer {
            Err(error) if moved(&error) => {
                self.forget();
                self.run(false, |link| link.command(command))?
            }
            Err(error) => return Err(fault(&self.at, &error)),
            Ok(value) => value,
        };
        Ok(answer)
    }

    /// Commands that only read, in order.
    pub(super) fn reads(&self, commands: &[Cmd]) -> Result<Vec<Value>, StoreError> {
        let answers = self.run(true, |link| link.commands(commands))?;
        // One that was refused, for its slot has moved, is asked again by itself.
        answers
            .into_iter()
            .zip(commands)
            .map(|(answer, command)| answer.or_else(|_| self.read(command)))
            .collect()
    }

    /// Calls of scripts, in order. `again`: they only read, so that a connection that turned out to
    /// be dead does not matter.
    pub(super) fn calls(
        &self,
        scripts: &Scripts,
        calls: &[Call<'_>],
        again: bool,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let all: Vec<&Call<'_>> = calls.iter().collect();
        let mut answers = self.run(again, |link| link.calls(scripts, &all))?;
        let stays = |answer: &RedisResult<Value>| !answer.as_ref().is_err_and(moved);
        let left: Vec<usize> = (0..answers.len()).filter(|at| !stays(&answers[*at])).collect();
        if !left.is_empty() {
            // A new connection asks the Cluster where its slots are.
            self.forget();
            let moved: Vec<&Call<'_>> = left.iter().map(|at| all[*at]).collect();
            let anew = self.run(false, |link| link.calls(scripts, &moved))?;
            for (at, answer) in left.into_iter().zip(anew) {
                answers[at] = answer;
            }
        }
        Ok(answers)
    }

    fn run<T>(
        &self,
        again: bool,
        ask: impl Fn(&mut Link) -> RedisResult<T>,
    ) -> Result<T, StoreError> {
        let mut lease = self.take()?;
        let reused = lease.reused;
        match ask(lease.link()?) {
            Ok(answer) => {
                lease.good = true;
                return Ok(answer);
            }
            Err(error) if !(again && reused) => {
                self.forget();
                return Err(fault(&self.at, &error));
            }
            Err(_) => self.forget(),
        }
        drop(lease);
        let mut lease = self.take()?;
        let answer = ask(lease.link()?).map_err(|error| fault(&self.at, &error))?;
        lease.good = true;
        Ok(answer)
    }

    fn take(&self) -> Result<Lease<'_>, StoreError> {
        let deadline = Instant::now() + self.response_timeout;
        let mut held = self.held.lock();
        loop {
            if let Some(link) = held.idle.pop() {
                held.out += 1;
                let generation = held.generation;
                return Ok(Lease {
                    pool: self,
                    link: Some(link),
                    reused: true,
                    good: false,
                    generation,
                });
            }
            if held.out < self.limit {
                held.out += 1;
                let generation = held.generation;
                drop(held);
                // From here on the lease counts it, whatever becomes of the connection.
                let mut lease =
                    Lease { pool: self, link: None, reused: false, good: false, generation };
                lease.link = Some(self.connect()?);
                return Ok(lease);
            }
            if self.freed.wait_until(&mut held, deadline).timed_out() {
                return Err(StoreError::Unavailable(format!(
                    "all {} connections to Redis at {} are in use: check its load",
                    self.limit, self.at
                )));
            }
        }
    }

    fn connect(&self) -> Result<Link, StoreError> {
        let fault = |error: RedisError| fault(&self.at, &error);
        match &self.target {
            Target::Single(info) => {
                let mut link =
                    single(info, self.connect_timeout, self.response_timeout).map_err(fault)?;
                server::check_settings(&self.at, &mut link, &mut ServerFacts::default())?;
                Ok(Link::Single(link))
            }
            Target::Cluster(client) => {
                Ok(Link::Cluster(Box::new(client.get_connection().map_err(fault)?)))
            }
        }
    }

    /// Drops the connections that are there now.
    fn forget(&self) {
        let mut held = self.held.lock();
        held.generation += 1;
        held.idle.clear();
    }
}

/// A connection taken, or leave to make one.
struct Lease<'a> {
    pool: &'a Pool,
    link: Option<Link>,
    reused: bool,
    /// The last thing on it was an answer.
    good: bool,
    generation: u64,
}

impl Lease<'_> {
    fn link(&mut self) -> Result<&mut Link, StoreError> {
        let at = &self.pool.at;
        self.link
            .as_mut()
            .ok_or_else(|| StoreError::Unavailable(format!("no connection to Redis at {at}")))
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut held = self.pool.held.lock();
        held.out -= 1;
        if self.good && self.generation == held.generation {
            held.idle.extend(self.link.take());
        }
        drop(held);
        self.pool.freed.notify_one();
    }
}

fn single(info: &ConnectionInfo, connect: Duration, response: Duration) -> RedisResult<Connection> {
    let link = redis::Client::open(info.clone())?.get_connection_with_timeout(connect)?;
    link.set_read_timeout(Some(response))?;
    link.set_write_timeout(Some(response))?;
    Ok(link)
}

/// The same way of connecting, to another host.
fn at_host(like: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    match like {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    }
}
