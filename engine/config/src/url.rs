//! URLs of outside systems: whether they can be one.
//!
//! Knows their form, `SCHEME://USER:PASSWORD@HOST:PORT/NAME?KEY=VALUE`, and nothing of what stands
//! behind them. No sentence repeats the URL.

/// Whether this can be the URL of a PostgreSQL database.
pub(super) fn postgres(url: &str) -> Result<(), String> {
    const WRITE: &str = "write postgres://USER:PASSWORD@HOST:5432/DATABASE";
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| format!("is not a PostgreSQL URL; {WRITE}"))?;
    if url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(format!("contains spaces or control characters; {WRITE}"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if path.contains(['@', '#']) || authority.matches('@').count() > 1 {
        return Err("contains / ? # or @ in user or password; write them as %2F %3F %23 %40".into());
    }
    let query = path.split_once('?').map_or("", |(_, query)| query);
    for (key, value) in query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    {
        if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') || value.is_empty() {
            return Err("has a ? that is not followed by KEY=VALUE pairs separated by &".into());
        }
        if key.contains("password") {
            return Err(format!("has the password after the ?; {WRITE}"));
        }
    }
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    if hosts.is_empty() && query.split('&').any(|pair| pair.starts_with("host=")) {
        return Ok(());
    }
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (
                address.parse::<std::net::Ipv6Addr>().map_or("", |_| address),
                port.strip_prefix(':'),
            ),
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_%:".contains(&byte);
        if name.is_empty() || !name.bytes().all(letters) {
            return Err(format!("names no host; {WRITE}"));
        }
        if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
            return Err(format!("has an invalid port (1–65535); {WRITE}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn what_cannot_be_a_url_is_refused_without_repeating_it() {
        for good in [
            "postgres://u:p@h/d",
            "postgresql://h",
            "postgres://u:p%40@127.0.0.1:5432/d?sslmode=disable&connect_timeout=3",
            "postgres://u:p@[::1]:5432/d",
            "postgres://u@a:1,b:2/d",
            "postgres://u:p@%2Frun%2Fpostgresql/d",
            "postgres:///d?host=/run/postgresql",
        ] {
            assert_eq!(postgres(good), Ok(()), "{good}");
        }
        for (bad, words) in [
            ("h:5432", "is not a PostgreSQL URL"),
            ("host=h password=hush", "is not a PostgreSQL URL"),
            ("mysql://u:hush@h/d", "is not a PostgreSQL URL"),
            ("postgres://", "names no host"),
            ("postgres://u:hush@", "names no host"),
            ("postgres://u:hu@sh@h/d", "%40"),
            ("postgres://u:hu/sh@h/d", "%2F"),
            ("postgres://u:hush@h:port/d", "port"),
            ("postgres://u:hush@h:0/d", "port"),
            ("postgres://u:hush@h/d?password=hush", "after the ?"),
            ("postgres://u:hush@h/d?hush", "KEY=VALUE"),
            ("postgres://u:hush@h/d b", "spaces"),
        ] {
            let told = postgres(bad).unwrap_err();
            assert!(told.contains(words) && !told.contains("hush"), "{bad}: {told}");
        }
    }
}
