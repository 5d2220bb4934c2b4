//! Which engine the command line asks: flag, environment, context, configuration, default; and the
//! contexts that a user keeps. No engine runs here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use tally_tests::tally::Home;

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An address at which nobody listens.
fn nobody() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// What a command says that finds no engine.
fn unanswered(place: &str) -> String {
    format!("error: no engine answers at {place}; start one with `tally run` or give --url\n")
}

#[test]
fn every_command_asks_the_engine_that_the_first_of_them_names() {
    let (flag, variable, context, file) = (nobody(), nobody(), nobody(), nobody());
    let mut home = Home::new(&format!("[server]\nlisten = \"{file}\"\n")).unwrap();
    let folder = home.path().to_str().unwrap().to_owned();
    home.env("HOME", &folder);
    let commands: [&[&str]; 7] = [
        &["query", "x"],
        &["query", "x", "--watch"],
        &["plugin", "list"],
        &["dead-letters"],
        &["skip", "0", "0"],
        &["lag"],
        &["tap"],
    ];
    let all_say = |home: &Home, more: &[&str], expected: &str| {
        for command in commands {
            let output = home.run(&[command, more].concat()).unwrap();
            assert_eq!(
                (output.status.code(), err(&output)),
                (Some(1), unanswered(expected)),
                "{command:?}"
            );
        }
    };
    all_say(&home, &[], &format!("http://{file} ([server] listen of metrics.toml)"));
    home.succeed(&["context", "set", "shop", &format!("http://{context}/")]).unwrap();
    all_say(&home, &[], &format!("http://{context} (context shop)"));
    let set = format!("http://{variable}");
    home.with_env(&[("TALLY_URL", set.as_str())], |home| {
        all_say(home, &[], &format!("{set} (TALLY_URL)"));
        let given = format!("http://{flag}");
        all_say(home, &["--url", &given], &given);
    });
    // What sends events asks likewise; a configuration that is named goes before the environment.
    let produced = |home: &Home, more: &[&str]| {
        err(&home.run(&[&["produce", "--count", "1"], more].concat()).unwrap())
    };
    assert_eq!(produced(&home, &[]), unanswered(&format!("http://{context} (context shop)")));
    assert_eq!(
        produced(&home, &["-c", "metrics.toml"]),
        unanswered(&format!("http://{file} ([server] listen of metrics.toml)"))
    );
    home.with_env(&[("TALLY_CONTEXT", "gone")], |home| {
        let output = home.run(&["query", "x"]).unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = err(&output);
        assert!(told.starts_with("error: there is no context \"gone\"; those of "), "{told}");
    });
}

#[test]
fn contexts_are_kept_for_their_user_alone() {
    let mut home = Home::new("").unwrap();
    let folder = home.path().join("config");
    home.env("XDG_CONFIG_HOME", folder.to_str().unwrap());
    assert_eq!(home.succeed(&["context", "list"]).unwrap(), "");
    home.succeed(&["context", "set", "a", "http://127.0.0.1:1"]).unwrap();
    home.succeed(&["context", "set", "b", "http://127.0.0.1:2"]).unwrap();
    let mode = fs::metadata(folder.join("tally/contexts.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    home.succeed(&["context", "use", "b"]).unwrap();
    let listed = home.succeed(&["context", "list"]).unwrap();
    let lines: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [
            vec!["CONTEXT", "URL"],
            vec!["a", "http://127.0.0.1:1"],
            vec!["*", "b", "http://127.0.0.1:2"]
        ]
    );
    assert_eq!(
        home.succeed(&["context", "list", "--json"]).unwrap(),
        "{\"contexts\":[{\"name\":\"a\",\"url\":\"http://127.0.0.1:1\",\"current\":false},{\"name\":\"b\",\"url\":\"http://127.0.0.1:2\",\"current\":true}]}\n"
    );
    home.succeed(&["context", "remove", "b"]).unwrap();
    let wrong: [(&[&str], i32, &str); 4] = [
        (&["use", "b"], 1, "there is no context \"b\""),
        (&["remove", "b"], 1, "there is no context \"b\""),
        (&["set", "c d", "http://127.0.0.1:3"], 2, "cannot name a context"),
        (&["set", "c", "127.0.0.1:3"], 2, "is not an address like"),
    ];
    for (args, code, words) in wrong {
        let output = home.run(&[&["context"], args].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(err(&output).contains(words), "{args:?}: {}", err(&output));
    }
}
