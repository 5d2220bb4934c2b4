//! PostgreSQL over TLS: a catalogue behind a certificate that is trusted, by a file or by the
//! system, and every reason why not.

use super::*;
use tally_tests::certificate::Certificate;

#[test]
fn it_connects_to_what_it_trusts_and_says_why_not() {
    let certificate = Certificate::new().unwrap();
    let server = Postgres::encrypted(&certificate).unwrap();
    let url = server.database("kept").unwrap();
    let authority = certificate.authority.display().to_string();
    let asking = |url: &str, mode: &str, authority: &str| {
        format!("{url}?sslmode={mode}&sslrootcert={authority}")
    };

    // The address and the name are those of the certificate.
    for (url, mode) in
        [(url.clone(), "verify-full"), (url.replace("127.0.0.1", "localhost"), "require")]
    {
        let home = home(&asking(&url, mode, &authority));
        let engine = home.start().unwrap();
        assert_eq!(
            asked(&engine.client, "1"),
            (Value::Null, vec![]),
            "it answers, and knows nobody yet"
        );
        let seen = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'tally'";
        assert_eq!(server.sql("kept", seen).unwrap(), "t", "all of its connections are encrypted");
        engine.stop().unwrap();
    }
    // With a password that is bound to the certificate, as some providers' URLs ask.
    home(&(asking(&url, "verify-full", &authority) + "&channel_binding=require"))
        .succeed(&["migrate"])
        .unwrap();
    // The authorities of the system, as these tests can name them.
    let mut by_system = home(&format!("{url}?sslmode=verify-full"));
    by_system.env("SSL_CERT_FILE", &authority);
    by_system.succeed(&["migrate", "--dry-run"]).unwrap();

    let plain = Postgres::start().unwrap();
    let other = Certificate::new().unwrap().authority;
    let stranger = Certificate::new().unwrap();
    let stranger = stranger.authority.display().to_string();
    // The same server by a name that its certificate does not have.
    let renamed = url.replace("127.0.0.1", "db.example");
    let renamed = asking(&renamed, "verify-full", &authority) + "&hostaddr=127.0.0.1";
    for (url, words) in [
        (url.clone(), &["no encryption", "add sslmode=verify-full"][..]),
        (
            asking(&url, "verify-full", &stranger),
            &["its certificate is not trusted", "BadSignature", "sslrootcert=FILE"],
        ),
        (renamed, &["its certificate is not trusted", "db.example"]),
        (asking(&url, "require", &other.display().to_string()), &["sslrootcert", "cannot be read"]),
        (
            asking(&plain.url("postgres"), "require", &authority),
            &["offers no encryption", "ssl = on"],
        ),
        (format!("{url}?channel_binding=require"), &["channel_binding", "add sslmode=verify-full"]),
        (format!("{url}?colour=red"), &["unsupported parameter \"colour\""]),
        (
            asking(&url, "allow", &authority),
            &["sslmode must be disable, prefer, require or verify-full"],
        ),
    ] {
        for args in [&["migrate"][..], &["run", "--listen", "127.0.0.1:0"]] {
            let told = refused(&url, CONFIG, args);
            assert!(words.iter().all(|words| told.contains(words)), "{args:?}: {told}");
        }
    }
}

#[test]
fn where_a_certificate_allows_no_channel_binding_that_is_said() {
    let certificate = Certificate::without_hash().unwrap();
    let server = Postgres::encrypted(&certificate).unwrap();
    let url = server.database("odd").unwrap();
    let authority = certificate.authority.display();
    let url = format!("{url}?sslmode=verify-full&sslrootcert={authority}&channel_binding=");
    let asking = |mode: &str| format!("{url}{mode}");

    let told = refused(&asking("require"), CONFIG, &["migrate"]);
    let words = ["signed with id-Ed25519", "no hash", "channel_binding=require"];
    assert!(words.iter().all(|words| told.contains(words)), "{told}");

    // Else it connects, and the log says so, unless it need not be.
    for (mode, is_said) in [("prefer", true), ("disable", false)] {
        let home = home(&asking(mode));
        let engine = home.start().unwrap();
        assert_eq!(asked(&engine.client, "1"), (Value::Null, vec![]), "{mode}");
        let log = engine.process.tail();
        assert_eq!(log.contains("channel binding is not used"), is_said, "{mode}: {log}");
        engine.stop().unwrap();
    }
}
