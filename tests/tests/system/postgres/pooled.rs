//! Behind PgBouncer, which gives each transaction another session: everything works, and nothing
//! stays in a session.

use super::*;
use std::thread;
use tally_tests::pgbouncer::PgBouncer;

#[test]
fn it_works_behind_a_pooler_and_leaves_nothing_in_its_sessions() {
    let server = Postgres::start().unwrap();
    let direct = server.database("pooled").unwrap();
    let pooler = PgBouncer::start(&server).unwrap();
    let url = direct.replace(&format!(":{}/", server.port()), &format!(":{}/", pooler.port));
    assert_ne!(url, direct);

    // All at once, each over any of two sessions.
    let homes: Vec<Home> = (0..4).map(|_| home(&url)).collect();
    let said: Vec<String> = thread::scope(|scope| {
        let run = homes.iter().map(|home| scope.spawn(|| home.succeed(&["migrate"]).unwrap()));
        let run: Vec<_> = run.collect();
        run.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let applied = said.iter().filter(|said| said.contains("applied  V1__users")).count();
    assert_eq!(applied, 1, "{said:?}");
    assert!(homes[0].succeed(&["migrate", "--dry-run"]).unwrap().starts_with("nothing to apply"));

    let (users, products) = files();
    homes[0].write("users.csv", &users).unwrap();
    homes[0].write("products.csv", &products).unwrap();
    thread::scope(|scope| {
        for (what, home) in [("users", &homes[0]), ("products", &homes[0])] {
            scope.spawn(move || {
                let output = home.run(&["import", what, &format!("{what}.csv"), "--json"]).unwrap();
                // A faulty line is code 1, the good ones are written.
                assert_eq!(
                    output.status.code(),
                    Some(1),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            });
        }
    });
    assert_eq!(server.sql("pooled", "SELECT count(*) FROM users").unwrap(), "6003");

    let engine = homes[1].start().unwrap();
    let address = engine.address;
    thread::scope(|scope| {
        for n in 0..24 {
            scope.spawn(move || {
                let client = Client::new(address).unwrap();
                for round in 0..25 {
                    for path in [
                        format!("/api/product/{}", 2 * (n * 25 + round)),
                        format!("/api/product?limit={}", 1 + (n + round) % 40),
                        format!("/api/users?limit={}", 1 + (n * round) % 40),
                    ] {
                        let answer = client.get(&path).unwrap();
                        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
                    }
                }
            });
        }
    });
    assert_eq!(asked(&engine.client, "1").0, json!("Thing 2"));
    check_sessions(&server, &pooler);
    engine.stop().unwrap();
}

/// Another client that is given one of these sessions finds it as it came.
fn check_sessions(server: &Postgres, pooler: &PgBouncer) {
    for _ in 0..20 {
        let [timeout, messages] = ["statement_timeout", "client_min_messages"].map(|setting| {
            server.sql_at(pooler.port, "pooled", &format!("SHOW {setting}")).unwrap()
        });
        assert_eq!((timeout.as_str(), messages.as_str()), ("0", "notice"));
    }
    let left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.sql("pooled", left).unwrap(), "0", "no lock stays");
    let prepared = server
        .sql_at(pooler.port, "pooled", "SELECT count(*) FROM pg_prepared_statements")
        .unwrap();
    assert_eq!(prepared, "0", "no statement stays");
}
