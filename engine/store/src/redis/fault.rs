//! What an error of Redis is to the store: a sentence that says what happened and what to do.
//! Passwords are in none of them.

use crate::StoreError;
use redis::{ErrorKind, RedisError};
use tally_system::outage::Cause;

/// Whether the server said that the key is with another node now; nothing was done then.
pub(super) fn moved(error: &RedisError) -> bool {
    error.code() == Some("MOVED")
}

/// What an error leads to. All but a foreign write may pass by itself: what was asked is asked
/// again.
pub(super) fn fault(at: &str, error: &RedisError) -> StoreError {
    let code = error.code().unwrap_or_default();
    if code == "WRONGTYPE" {
        return StoreError::Corrupt(format!(
            "Redis at {at} has a key of another type where state should be: something else writes \
             into Tally's keys; give it another namespace and delete the key ({})",
            detail(error)
        ));
    }
    let what = match said(code) {
        Some(said) => format!("Redis at {at}: {said}"),
        None if code.is_empty() => format!("Redis at {at} {}", unanswered(error)),
        None => format!("Redis at {at} refused a command: {code} {}", detail(error)),
    };
    let cause = cause(error);
    StoreError::Unavailable(if cause.passes() {
        what
    } else {
        format!("{what}; {}", cause.prospect())
    })
}

/// What stands between us and the server.
fn cause(error: &RedisError) -> Cause {
    match error.code().unwrap_or_default() {
        "NOAUTH" | "WRONGPASS" => Cause::Authentication,
        "NOPERM" => Cause::Authorization,
        "OOM" | "MISCONF" | "READONLY" | "CROSSSLOT" | "WRONGTYPE" => Cause::Misconfigured,
        "LOADING" | "CLUSTERDOWN" | "TRYAGAIN" | "ASK" | "MOVED" | "BUSY" | "MASTERDOWN"
        | "NOREPLICAS" => Cause::Passing,
        "" => match error.kind() {
            ErrorKind::AuthenticationFailed => Cause::Authentication,
            ErrorKind::InvalidClientConfig => Cause::Misconfigured,
            _ if is_tls(error) => Cause::Tls,
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Cause::Network,
            _ => Cause::Unclear,
        },
        _ => Cause::Unclear,
    }
}

/// Whether something answered and no encrypted connection came about: the client tells it as a
/// broken connection.
fn is_tls(error: &RedisError) -> bool {
    let text = error.to_string().to_lowercase();
    ["certificate", "tls", "handshake", "corrupt message", "unknownissuer"]
        .iter()
        .any(|word| text.contains(word))
}

/// Of what a server says, what it means and what to do.
fn said(code: &str) -> Option<&'static str> {
    Some(match code {
        "OOM" => {
            "its memory is full (maxmemory): raise maxmemory, or remove other data; nothing was \
             written"
        }
        "READONLY" => "it is a replica and accepts no writes: give the address of its master",
        "LOADING" => "it is still loading its data: retrying until it is done",
        "CLUSTERDOWN" => {
            "its cluster does not serve this slot: bring back the failed nodes (CLUSTER NODES)"
        }
        "TRYAGAIN" | "ASK" => {
            "a slot is being moved to another node: retrying until the move is over"
        }
        "MOVED" => "a slot has moved to another node: retrying there",
        "CROSSSLOT" => {
            "it reports different slots for keys of one revision: a proxy in between may rename \
             keys"
        }
        "BUSY" => "another client's script blocks it: end it (SCRIPT KILL), or wait",
        "MISCONF" => {
            "it cannot save to disk and accepts no writes until it can: free some disk space, or \
             CONFIG SET stop-writes-on-bgsave-error no"
        }
        "MASTERDOWN" | "NOREPLICAS" => {
            "its replication is interrupted: bring back the missing nodes"
        }
        "NOAUTH" => "it requires user and password: put them into the URL",
        "WRONGPASS" => "it does not accept user and password: put the right ones into the URL",
        "NOPERM" => {
            "the user lacks a permission: ACL SETUSER … ~{NAMESPACE:* +eval +evalsha +@read \
             +@write +@hash +@string +time +info +config|get +cluster"
        }
        _ => return None,
    })
}

fn unanswered(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => {
            "does not accept user and password: put the right ones into the URL".to_owned()
        }
        ErrorKind::InvalidClientConfig => {
            "cannot be reached by this URL: check its scheme and database".to_owned()
        }
        ErrorKind::ClusterConnectionNotFound => {
            "is a cluster whose nodes cannot be reached: check CLUSTER NODES, and whether its \
             addresses are reachable from here"
                .to_owned()
        }
        _ if is_tls(error) => format!(
            "and Tally cannot agree on encryption ({}): check the scheme of the URL (rediss:// or \
             redis://) and the certificate",
            detail(error)
        ),
        _ if error.is_timeout() => {
            "did not answer in time: check its load and the network between; retrying".to_owned()
        }
        _ if error.is_connection_refusal() => {
            "does not listen: start it, or correct the address".to_owned()
        }
        ErrorKind::Io => {
            format!("closed the connection or cannot be reached ({}): retrying", detail(error))
        }
        _ => format!("sent an answer that is not understood ({}): is it Redis?", detail(error)),
    }
}

fn detail(error: &RedisError) -> String {
    let text = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn causes_are_told_apart_and_say_whether_waiting_mends_them() {
        let server =
            |code: &str| redis::make_extension_error(code.to_owned(), Some("something".to_owned()));
        for (code, expected) in [
            ("NOAUTH", Cause::Authentication),
            ("WRONGPASS", Cause::Authentication),
            ("NOPERM", Cause::Authorization),
            ("MISCONF", Cause::Misconfigured),
            ("MOVED", Cause::Passing),
            ("LOADING", Cause::Passing),
            ("NEWCODE", Cause::Unclear),
        ] {
            let error = server(code);
            assert_eq!(cause(&error), expected, "{code}");
            let told = fault("h:1", &error).to_string();
            assert_eq!(told.contains("waiting does not fix this"), !expected.passes(), "{told}");
        }
        let network = RedisError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        let tls = RedisError::from(io::Error::other("invalid peer certificate: UnknownIssuer"));
        assert_eq!((cause(&network), cause(&tls)), (Cause::Network, Cause::Tls));
    }

    #[test]
    fn what_may_pass_is_unavailable_and_says_what_to_do() {
        let codes = "OOM READONLY LOADING CLUSTERDOWN TRYAGAIN MOVED ASK BUSY MISCONF MASTERDOWN NOAUTH NOPERM";
        for code in codes.split(' ') {
            assert!(said(code).is_some_and(|said| said.contains(": ")), "{code}");
        }
        for kind in
            [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionRefused, io::ErrorKind::BrokenPipe]
        {
            let fault = fault("h:1", &RedisError::from(io::Error::from(kind)));
            assert!(
                matches!(&fault, StoreError::Unavailable(text) if text.starts_with("Redis at h:1 ")),
                "{fault}"
            );
        }
    }
}
