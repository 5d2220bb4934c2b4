//! Redis over TLS with a certificate of its own: an engine counts into it that trusts the
//! authority, and one that does not says so.

use super::*;
use serde_json::json;
use std::net::TcpListener;
use std::time::Duration;
use tally_tests::certificate::Certificate;
use tally_tests::tally::Home;

#[test]
fn an_engine_counts_over_tls_into_what_it_trusts_alone() {
    let certificate = Certificate::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let [cert, key, authority] =
        [&certificate.certificate, &certificate.key, &certificate.authority]
            .map(|path| path.display().to_string());
    let settings = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let redis = Redis::start(
        &[&settings[..], &["--tls-ca-cert-file", &authority, "--tls-auth-clients", "no"]].concat(),
    );
    let redis = redis.expect("a redis-server that was built with TLS, as Debian's is");
    let home = |trusts: Option<&str>| {
        let mut home = Home::new("[store]\nkind = \"redis\"\n").unwrap();
        home.env("REDIS_URL", &format!("rediss://localhost:{port}"));
        trusts.into_iter().for_each(|path| home.env("SSL_CERT_FILE", path));
        home
    };
    let trusting = home(Some(&authority));
    let tally = trusting.start().unwrap();
    let line = json!({"event_id": "e", "user_id": 1, "product_id": 1, "event_type": "view"})
        .to_string()
        + "\n";
    let at = tally.client.post_all(&line).unwrap();
    assert_eq!(tally.client.ask("event_frequencies", &json!({}), &at).unwrap()["total"], json!(1));
    tally.stop().unwrap();
    assert!(!redis.content().unwrap().is_empty(), "it is in that Redis");

    // Another authority is trusted, not this one.
    let other = Certificate::new().unwrap();
    let refused = home(Some(&other.authority.display().to_string()));
    let mut process = refused.spawn().unwrap();
    let status = process.ended(Duration::from_secs(60)).unwrap();
    assert!(
        !status.success() && process.tail().contains("ertificate"),
        "{status}: {}",
        process.tail()
    );
}
