//! The catalogue in a real PostgreSQL: the contract, the routes beside those on SQLite, its absence
//! and return, and what is refused.

mod encrypted;
mod pooled;

use serde_json::{Value, json};
use std::fmt::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tally_server::catalogue::contract;
use tally_server::catalogue::postgres::{Postgres as Catalogue, Settings};
use tally_tests::client::Client;
use tally_tests::postgres::{ESCAPED, PASSWORD, Postgres, USER};
use tally_tests::tally::Home;

const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

/// How long its going or return may take to be noticed on a busy machine.
const NOTICED: Duration = Duration::from_secs(30);

fn home(url: &str) -> Home {
    let mut home = Home::new(CONFIG).unwrap();
    home.env("POSTGRES_URL", url);
    home
}

/// Runs a command that must fail; what it said, which must not hold the password.
fn refused(url: &str, config: &str, args: &[&str]) -> String {
    let mut home = Home::new(config).unwrap();
    if !url.is_empty() {
        home.env("POSTGRES_URL", url);
    }
    let output = home.run(args).unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!output.status.success(), "{args:?} succeeded: {text}");
    secret(&text);
    text
}

fn secret(text: &str) {
    for password in [PASSWORD, ESCAPED, "wrong-horse"] {
        assert!(!text.contains(password), "the password is shown: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_postgresql_and_engines_may_start_at_once() {
    let server = Postgres::start().unwrap();
    let url = server.database("contract").unwrap();
    let open = || Catalogue::open(Settings::parse(&url).unwrap(), true);
    let (a, b, c, d, e) = tokio::join!(open(), open(), open(), open(), open());
    let opened = [a, b, c, d, e].map(Result::unwrap);
    assert_eq!(
        server
            .sql(
                "contract",
                "SELECT count(DISTINCT version) = count(*) FROM refinery_schema_history"
            )
            .unwrap(),
        "t"
    );
    contract::holds(&opened[0]).await;

    // The database sorts by language; pages come in the order of bytes, by an index.
    assert_eq!(server.sql("contract", "SELECT 'a' < 'B'").unwrap(), "t");
    let fill = "INSERT INTO users SELECT 'x' || n, 9223372036854775807, 'n', NULL FROM generate_series(1, 20000) n; ANALYZE users";
    server.sql("contract", fill).unwrap();
    let page = "EXPLAIN SELECT user_id, user_name, email FROM users WHERE (id_number, user_id COLLATE \"BINARY\") \
        > (9223372036854775807, 'x5') ORDER BY id_number, user_id COLLATE \"BINARY\" LIMIT 50";
    let plan = server.sql("contract", page).unwrap();
    assert!(plan.contains("Index Scan using users_by_id") && !plan.contains("Sort"), "{plan}");
}

/// Users with integer and text ids, some lines of them faulty, and products.
fn files() -> (String, String) {
    let mut users = String::from("user_id,user_name,email\n");
    for n in 0..3_000 {
        writeln!(
            users,
            "{n},User {n},{}",
            if n % 3 == 0 { format!("u{n}@example.com") } else { String::new() }
        )
        .unwrap();
        writeln!(users, "{}-{n},\"Größe, {n}\",", ["a", "B", "é", "Z"][n % 4]).unwrap();
    }
    users +=
        "007,Bond,\n9007199254740991,Last,\n9007199254740992,Beyond,\n,Nobody,\n1,Once more,\n";
    let mut products = String::from("product_id,product_name,cost\n");
    for n in 0..2_500 {
        writeln!(
            products,
            "{}{n},Thing {n},{}.{:02}",
            if n % 2 == 0 { "" } else { "sku-" },
            n,
            n % 100
        )
        .unwrap();
    }
    products += "x,Free,free\n";
    (users, products)
}

fn pages(client: &Client, path: &str, limit: usize) -> Vec<String> {
    let (mut texts, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("{path}?limit={limit}&cursor={cursor}")).unwrap();
        assert_eq!(page.status, 200, "{}", page.text);
        let next = page.json()["next"].as_str().map(str::to_owned);
        texts.push(page.text);
        match next {
            Some(next) => cursor = next,
            None => return texts,
        }
    }
}

fn names_stand_beside_ids(client: &Client) {
    let event = r#"{"event_id":"e","user_id":"é-2","product_id":2,"event_type":"view"}"#;
    let position = client.post_all(event).unwrap();
    let question = json!({"name": "user_activities", "params": {"user_id": "é-2"}, "expand": ["names"],
        "at_least": position, "wait_ms": 30_000});
    let answer = client.evaluate(&question).unwrap().json();
    assert_eq!(
        answer["result"]["user"],
        json!({"user_id": "é-2", "name": "Größe, 2", "known": true}),
        "{answer}"
    );
    assert_eq!(answer["result"]["products"][0]["name"], "Thing 2", "{answer}");
}

#[test]
fn imports_and_routes_are_those_of_sqlite() {
    let server = Postgres::start().unwrap();
    let homes = [Home::new(CONFIG).unwrap(), home(&server.database("same").unwrap())];
    let (users, products) = files();
    let told: Vec<Vec<String>> =
        homes.iter().map(|home| import_files(home, &users, &products)).collect();
    assert_eq!(told[0], told[1]);
    let counts: Vec<Value> = told[1]
        .iter()
        .map(|text| serde_json::from_str(text.lines().next().unwrap()).unwrap())
        .collect();
    let of = |n: usize| {
        ["inserted", "updated", "unchanged", "refused"].map(|key| counts[n][key].as_u64().unwrap())
    };
    // Line `1,Once more` changes user 1, twice in a second run: back and forth.
    assert_eq!((of(0), of(1)), ([6_003, 1, 0, 1], [0, 2, 6_002, 1]));
    assert_eq!((of(2), of(3)), ([2_500, 0, 0, 1], [0, 0, 2_500, 1]));

    let engines = homes.each_ref().map(|home| home.start().unwrap());
    let [sqlite, postgres] = engines.each_ref().map(|engine| &engine.client);
    for (path, limit) in
        [("/api/users", 97), ("/api/users", 1_000), ("/api/product", 333), ("/api/products", 50)]
    {
        let pages = [sqlite, postgres].map(|client| pages(client, path, limit));
        assert!(pages[0] == pages[1], "{path} in pages of {limit} differ");
    }
    assert_eq!(pages(postgres, "/api/users", 1_000).len(), 7);
    for path in [
        "/api/users/1",
        "/api/users/007",
        "/api/users/7",
        "/api/users/%C3%A9-2",
        "/api/users/nobody",
        "/api/users/x%00",
        "/api/product/2",
        "/api/product/sku-1",
        "/api/products/none",
        "/api/users?limit=0",
        "/api/users?cursor=zz",
    ] {
        let [a, b] = [sqlite, postgres].map(|client| {
            let answer = client.get(path).unwrap();
            let mut json = answer.json();
            json.as_object_mut().unwrap().remove("request_id");
            (answer.status, json)
        });
        assert_eq!(a, b, "{path}");
    }
    [sqlite, postgres].into_iter().for_each(names_stand_beside_ids);
    for engine in engines {
        engine.stop().unwrap();
    }
}

/// Migrates and imports, each more than once; what the imports said.
fn import_files(home: &Home, users: &str, products: &str) -> Vec<String> {
    home.write("users.csv", users).unwrap();
    home.write("products.csv", products).unwrap();
    let dry = home.succeed(&["migrate", "--dry-run"]).unwrap();
    assert_eq!(dry, "pending  V1__users\npending  V2__products\npending  V3__lower_id\n");
    assert_eq!(home.succeed(&["migrate", "--dry-run"]).unwrap(), dry, "nothing was changed");
    assert_eq!(home.succeed(&["migrate"]).unwrap(), dry.replace("pending", "applied"));
    assert!(home.succeed(&["migrate"]).unwrap().starts_with("nothing to apply"));
    assert!(home.succeed(&["migrate", "--dry-run"]).unwrap().starts_with("nothing to apply"));
    let mut said = Vec::new();
    // A faulty line is code 1, the good ones are written; again, nothing changes.
    for what in ["users", "users", "products", "products"] {
        let output = home.run(&["import", what, &format!("{what}.csv"), "--json"]).unwrap();
        assert_eq!(output.status.code(), Some(1));
        said.push(
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        );
    }
    said
}

/// Counts one more event and asks for it with names; what the catalogue gave and the warnings.
fn asked(client: &Client, id: &str) -> (Value, Vec<String>) {
    let event = format!(r#"{{"event_id":"{id}","user_id":1,"product_id":2,"event_type":"view"}}"#);
    let position = client.post_all(&event).unwrap();
    let question = json!({"name": "products_popularity", "params": {}, "expand": ["names"], "at_least": position,
        "wait_ms": 30_000});
    let answer = client.evaluate(&question).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    let codes = answer["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap().into());
    (answer["result"]["products"][0]["name"].clone(), codes.collect())
}

fn away(client: &Client) {
    for path in ["/api/users", "/api/users/1", "/api/product", "/api/product/2"] {
        let begun = Instant::now();
        let answer = client.get(path).unwrap();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, "1"),
            "{path}: {}",
            answer.text
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["code"], "catalogue_unavailable");
        assert!(begun.elapsed() < Duration::from_secs(5), "{path} took {:?}", begun.elapsed());
        secret(&answer.text);
    }
    let ready = client.get("/readyz").unwrap();
    assert_eq!(
        (ready.status, ready.text.as_str()),
        (200, "ok\n"),
        "metrics do not need the catalogue"
    );
    let lines = client.get("/readyz?verbose").unwrap();
    assert_eq!(lines.status, 200);
    assert!(lines.text.contains("[!]catalogue unavailable"), "{}", lines.text);
    secret(&lines.text);
}

fn noticed(client: &Client, line: &str) {
    client.readyz(line, NOTICED, |answer| answer.text.contains(line)).unwrap();
}

#[test]
fn it_may_be_away_at_the_start_and_later_and_comes_back_by_itself() {
    let mut server = Postgres::start().unwrap();
    let home = home(&server.database("away").unwrap());
    server.stop().unwrap();

    let engine = home.start().unwrap();
    let client = &engine.client;
    away(client);
    assert_eq!(asked(client, "1"), (Value::Null, vec!["catalogue_unavailable".to_owned()]));

    server.run().unwrap();
    noticed(client, "[+]catalogue ok");
    assert_eq!(
        client.get("/api/users").unwrap().json()["items"],
        json!([]),
        "migrations were applied on its return"
    );
    home.write("p.csv", "product_id,product_name,cost\n2,Lamp,1.50\n").unwrap();
    home.succeed(&["import", "products", "p.csv"]).unwrap();
    assert_eq!(asked(client, "2"), (json!("Lamp"), vec![]));

    server.stop().unwrap();
    noticed(client, "[!]catalogue");
    away(client);
    assert_eq!(asked(client, "3"), (Value::Null, vec!["catalogue_unavailable".to_owned()]));
    let import = home.run(&["import", "products", "p.csv"]).unwrap();
    let said = String::from_utf8_lossy(&import.stderr).into_owned();
    assert!(
        import.status.code() == Some(1) && said.contains("unavailable: PostgreSQL at 127.0.0.1:"),
        "{said}"
    );
    secret(&said);

    server.run().unwrap();
    noticed(client, "[+]catalogue ok");
    assert_eq!(asked(client, "4"), (json!("Lamp"), vec![]));
    assert_eq!(client.ask("event_frequencies", &json!({}), "").unwrap()["total"], 4);
    secret(&engine.process.tail());
    engine.stop().unwrap();
}

#[test]
fn a_server_that_never_answers_holds_nothing_up() {
    // Connections are taken by the kernel; nobody ever reads them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = home(&format!("postgres://u:wrong-horse@{}/d", silent.local_addr().unwrap()));
    let engine = home.start().unwrap();
    away(&engine.client);
    assert_eq!(asked(&engine.client, "1").0, Value::Null);
    engine.stop().unwrap();
}

#[test]
fn what_waiting_does_not_mend_is_refused_with_a_sentence() {
    let server = Postgres::start().unwrap();
    let commands =
        [&["run", "--listen", "127.0.0.1:0"][..], &["migrate"], &["migrate", "--dry-run"]];
    let every = |url: &str, words: &[&str]| {
        for args in commands {
            let told = refused(url, CONFIG, args);
            assert!(words.iter().all(|words| told.contains(words)), "{args:?}: {told}");
        }
    };
    let wrong = server.url_of(USER, "wrong-horse", "postgres");
    every(
        &wrong,
        &["does not let user \"tally\" in: password authentication failed", "POSTGRES_URL"],
    );
    every(&server.url("nothing"), &["database \"nothing\" does not exist", "createdb"]);
    every(
        "postgres://u:wrong-horse@127.0.0.1:1x/d",
        &["environment variable POSTGRES_URL: catalogue.postgres_url"],
    );
    server
        .sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0")
        .unwrap();
    every(&server.url("latin"), &["encoding is LATIN1", "ENCODING 'UTF8'"]);

    // Not by a start that is told not to; once applied, it starts.
    migrate_before_start(&server);

    // A user who may read and write, and make nothing, is enough from then on; before, it is not.
    start_as_reader(&server);

    server
        .sql("later", "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2")
        .unwrap();
    every(
        &server.url("later"),
        &["V2__products was applied, but", "never changes", "import again"],
    );
    server.sql("later", "DELETE FROM refinery_schema_history WHERE version > 1; INSERT INTO refinery_schema_history VALUES (99, 'news', now()::text, '1')").unwrap();
    every(&server.url("later"), &["V99__news was applied by a newer program"]);

    let foreign = server.database("theirs").unwrap();
    server.sql("theirs", "CREATE TABLE users (id int)").unwrap();
    for args in [&commands[0], &commands[1]] {
        let told = refused(&foreign, CONFIG, args);
        assert!(
            told.contains("relation \"users\" already exists")
                && told.contains("a database of its own"),
            "{told}"
        );
    }
    assert_eq!(server.sql("theirs", "SELECT count(*) FROM users").unwrap(), "0");
}

fn migrate_before_start(server: &Postgres) {
    let url = server.database("later").unwrap();
    let config = format!("{CONFIG}[catalogue]\nmigrate = false\npostgres_url = \"{url}\"\n");
    let told = refused("", &config, &["run", "--listen", "127.0.0.1:0"]);
    assert!(
        told.contains(
            "not applied yet: V1__users, V2__products, V3__lower_id; run `tally migrate`"
        ),
        "{told}"
    );
    assert_eq!(
        server.sql("later", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").unwrap(),
        "0"
    );
    let later = Home::new(&config).unwrap();
    later.succeed(&["migrate"]).unwrap();
    later.start().unwrap().stop().unwrap();
    let shown = later.succeed(&["config", "show"]).unwrap();
    assert!(shown.contains("catalogue.postgres_url = \"postgres://***@127.0.0.1:"), "{shown}");
    secret(&shown);
}

/// On what is migrated, and on what is not.
fn start_as_reader(server: &Postgres) {
    server
        .sql("later", "CREATE USER reader PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        .unwrap();
    home(&server.url_of("reader", "r", "later")).start().unwrap().stop().unwrap();
    server.database("bare").unwrap();
    let told =
        refused(&server.url_of("reader", "r", "bare"), CONFIG, &["run", "--listen", "127.0.0.1:0"]);
    assert!(
        told.contains("permission denied")
            && told.contains("run `tally migrate` as a user that may"),
        "{told}"
    );
}
