//! Opens an address in the browser of whoever sits here.
//!
//! Promises that nothing waits for it and nothing fails with it: the system's opener runs as a
//! process of its own, without this terminal, and what it says is told as a note. Chooses no
//! browser.

use super::output::note;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What opens an address with the program that the person has chosen for it.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Where a browser on this machine finds the page.
pub(crate) fn page_url(listening: SocketAddr) -> String {
    let reachable = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}/", SocketAddr::new(reachable, listening.port()))
}

/// Opens it, and returns at once.
pub(crate) fn open(url: &str) {
    let started = Command::new(OPENER)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What Ctrl-C ends here it does not end there.
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return not_opened(&error.to_string()),
    };
    // Some openers are the browser, and end with it.
    let wait = move || match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => not_opened(&status.to_string()),
        Err(error) => not_opened(&error.to_string()),
    };
    if let Err(error) = std::thread::Builder::new().name("open".into()).spawn(wait) {
        tracing::warn!(%error, "nobody waits for the end of {OPENER}");
    }
}

fn not_opened(why: &str) {
    note(&format!(
        "note: no browser was opened ({OPENER}: {why}); open the address above yourself"
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn the_page_is_where_a_browser_here_finds_it() {
        for (listening, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("0.0.0.0:80", "http://127.0.0.1:80/"),
            ("[::]:8080", "http://[::1]:8080/"),
            ("192.0.2.7:8080", "http://192.0.2.7:8080/"),
        ] {
            assert_eq!(page_url(listening.parse().unwrap()), url);
        }
    }
}
