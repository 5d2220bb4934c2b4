//! `tally query --watch` over real engines: answers after events, over a restart, in a pipe and on a
//! terminal; and that it is refused as a question is.

use serde_json::{Value, json};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};
use tally_tests::client::Client;
use tally_tests::day;
use tally_tests::proxy::Proxy;
use tally_tests::tally::{Home, binary};

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str = "[server]\nevaluation_deadline_ms = 10000\n[log]\npartitions = 1\n";

const LIMIT: Duration = Duration::from_secs(60);

/// One event of a product, with the time at which it comes; the position behind it.
fn post(client: &Client, product: u64) -> String {
    let event = json!({"user_id": 1, "product_id": product, "event_type": "view"});
    client.post_all(&day::lines(&[event])).unwrap()
}

/// Runs a command to its end, while events come.
fn while_events_come(client: &Client, run: impl FnOnce() -> Output + Send) -> Output {
    let begun = Instant::now();
    thread::scope(|scope| {
        let running = scope.spawn(run);
        let mut product = 0;
        while !running.is_finished() {
            assert!(begun.elapsed() < LIMIT, "it does not end");
            post(client, product % 50);
            product += 1;
        }
        running.join().unwrap()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_change_is_a_line_and_goes_on_over_a_restart() {
    let home = Home::new(CONFIG).unwrap();
    let mut tally = home.start().unwrap();
    let proxy = Proxy::start(&tally.address.to_string(), &[]).unwrap();
    let url = format!("http://{}", proxy.at());
    let args = ["query", "event_frequencies", "--watch", "--url", &url];
    let mut bounded = home
        .begin(
            &["query", "event_frequencies", r#"{"window":"1h"}"#, "--watch", "--url", &url],
            "window.log",
        )
        .unwrap();
    let watch = home.begin(&args, "watch.log").unwrap();
    let shows = |total: u64| {
        let line = format!("{{\"total\":{total},");
        watch.line(&line, LIMIT).unwrap();
        bounded.line(&line, LIMIT).unwrap();
    };
    shows(0);
    for total in 1..=3 {
        post(&tally.client, total);
        shows(total);
    }
    tally.stop().unwrap();
    tally = home.start().unwrap();
    proxy.lead_to(&tally.address.to_string());
    post(&tally.client, 4);
    shows(4);
    // Ctrl-C is an end as any other.
    bounded.signal("INT").unwrap();
    assert_eq!(bounded.ended(LIMIT).unwrap().code(), Some(0));
    let ended = watch.stop(LIMIT).unwrap();
    assert_eq!(ended.code, Some(0));
    let total = |line: &String| serde_json::from_str::<Value>(line).unwrap()["total"].as_u64();
    let totals: Vec<u64> = ended.out.iter().filter_map(total).collect();
    assert_eq!(totals, [0, 1, 2, 3, 4], "none is missing, and none is there twice");
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    let broken = format!("; connecting to {url} again in ");
    assert!(read("watch.log").contains(&broken), "{}", read("watch.log"));
    assert!(read("window.log").starts_with("window: 20"), "{}", read("window.log"));
    tally.stop().unwrap();
}

#[test]
fn it_is_refused_as_a_question_is() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let url = tally.url();
    for (name, params) in [
        ("event_frequency", "{}"),
        ("user_activities", r#"{"limit":0,"windw":1}"#),
        ("user_activities", r#"{"user_id":1,"limit":0}"#),
        ("products_popularity", r#"{"product_ids":[1],"window":"365d","bucket":"1m"}"#),
    ] {
        let question = ["query", name, params, "--url", &url];
        let asked = home.run(&question).unwrap();
        let watched = home.run(&[&question[..], &["--watch"]].concat()).unwrap();
        let told =
            |output: &Output| (output.status.code(), text(&output.stdout), text(&output.stderr));
        assert_eq!(told(&watched), told(&asked));
        assert!(!asked.status.success(), "{params}");
    }
    tally.stop().unwrap();
}

#[test]
fn in_a_pipe_it_gives_whole_answers_and_ends_with_its_reader() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let url = tally.url();
    post(&tally.client, 1);
    let question = ["query", "products_popularity", r#"{"limit":5}"#, "--json", "--url", &url];
    let watch = [&question[..], &["--watch", "--limit", "1"]].concat();
    let whole = |args: &[&str]| {
        let mut answer: Value = serde_json::from_str(&home.succeed(args).unwrap()).unwrap();
        for key in ["as_of", "took_us"] {
            answer["meta"].as_object_mut().unwrap().remove(key).unwrap();
        }
        answer.to_string()
    };
    let shown = |_: &Client| match (whole(&watch), whole(&question)) {
        (watched, asked) if watched == asked && asked.contains("\"total\":1") => Ok(asked),
        other => Err(format!("{other:?}")),
    };
    tally.client.until("the event is counted", LIMIT, shown).unwrap();

    let pipe = format!(
        "'{}' query event_frequencies --watch --interval 10ms --url {url} | head -n 2",
        binary().unwrap().display()
    );
    let output = while_events_come(&tally.client, || {
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &pipe]).current_dir(home.path()).env_clear();
        shell.env("PATH", "/usr/bin:/bin").output().unwrap()
    });
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    tally.stop().unwrap();
}

#[test]
fn on_a_terminal_it_is_drawn_in_place_and_fits() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let ends: Vec<String> = (0..50).map(|product| post(&tally.client, product)).collect();
    tally.client.ask("products_popularity", &json!({}), &ends[49]).unwrap();
    let watch = format!(
        "stty cols 50 rows 12; exec '{}' query products_popularity '{{\"limit\":40,\"window\":\"1h\"}}' --watch --limit 3 --url {}",
        binary().unwrap().display(),
        tally.url()
    );
    let output = while_events_come(&tally.client, || {
        // A terminal of its own.
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &watch, "/dev/null"]).current_dir(home.path()).env_clear();
        terminal.env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
        terminal.stdin(std::process::Stdio::null()).output().unwrap()
    });
    let drawn = text(&output.stdout);
    assert!(output.status.success(), "{drawn}");
    let screens: Vec<&str> = drawn.split("\x1b[H").skip(1).collect();
    assert_eq!(screens.len(), 3, "{drawn:?}");
    for screen in screens {
        let screen = screen.strip_suffix("\x1b[J").unwrap().replace("\x1b[K", "");
        let lines: Vec<&str> = screen.lines().map(|line| line.trim_end_matches('\r')).collect();
        assert!(
            lines.len() <= 11 && lines.iter().all(|line| line.chars().count() <= 50),
            "{screen}"
        );
        let has = |words: &str| lines.iter().any(|line| line.contains(words));
        assert!(lines[0].starts_with("products_popularity {\"limit\":40"), "{screen}");
        assert!(has("rank") && has("more rows") && has("window: 20"), "{screen}");
    }
    tally.stop().unwrap();
}

#[test]
fn names_stand_beside_ids_where_they_are_wished_and_a_raised_interval_is_said() {
    let home = Home::new(CONFIG).unwrap();
    home.write("products.csv", "product_id,product_name,cost\n1,Lamp,29.90\n").unwrap();
    home.succeed(&["import", "products", "products.csv"]).unwrap();
    let tally = home.start().unwrap();
    let url = tally.url();
    let end = post(&tally.client, 1);
    tally.client.ask("products_popularity", &json!({}), &end).unwrap();
    let question = ["query", "products_popularity", "--json", "--expand", "names", "--url", &url];
    let once = ["--watch", "--limit", "1", "--interval", "10ms"];
    let note =
        "note: --interval 10 ms counts as 50 ms, the engine's least ([live] min_interval_ms)\n";
    for (more, told) in [(&[][..], ""), (&once[..], note)] {
        let output = home.run(&[&question[..], more].concat()).unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), told));
        let answer: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
        assert_eq!(answer["result"]["products"][0]["name"], "Lamp", "{answer}");
    }
    let plain = home.succeed(&["query", "products_popularity", "--json", "--url", &url]).unwrap();
    assert!(!plain.contains("Lamp"), "{plain}");
    tally.stop().unwrap();
}
