//! The guide for authors, run as it stands: its commands in a shell, its code in the files that it
//! names. And the example outside of the workspace that comes of it.
//!
//! A block marked `sh` is run, one marked `sh background` is left running, one marked `rust` goes
//! into the file named before it, one marked `json` is what the command before it says in the end.
//! The port is another, so that a test can have it.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tally_tests::tally::{Home, binary};

/// How long an answer may take to be the one that is shown.
const PATIENCE: Duration = Duration::from_secs(60);

const GUIDE: &str = include_str!("../../../docs/plugin-guide.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Blocks with their marks, in order; a comment `<!-- file: X -->` is a block too.
fn blocks(text: &str) -> Vec<(String, String)> {
    let (mut blocks, mut open) = (Vec::new(), None::<(String, String)>);
    for line in text.lines() {
        open = match (open, line.strip_prefix("```")) {
            (None, Some(mark)) => Some((mark.to_owned(), String::new())),
            (Some(block), Some(_)) => {
                blocks.push(block);
                None
            }
            (Some((mark, text)), None) => Some((mark, text + line + "\n")),
            (None, None) => {
                let file =
                    line.strip_prefix("<!-- file: ").and_then(|rest| rest.strip_suffix(" -->"));
                blocks.extend(file.map(|file| ("file".to_owned(), file.to_owned())));
                None
            }
        };
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// A shell in which the guide is followed.
struct Reader {
    folder: PathBuf,
    path: String,
    running: Vec<Child>,
}

impl Reader {
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(&self.folder).env("PATH", &self.path);
        command
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS");
        command.stdin(Stdio::null());
        command
    }

    /// Runs commands to their end; what they printed.
    fn run(&self, script: &str) -> String {
        let output = self.shell(script).output().unwrap();
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {}\n{out}{err}", output.status);
        out.into_owned()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for child in &mut self.running {
            // A test that fails has nothing to say to it any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_guide_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let beside = binary().unwrap().parent().unwrap().to_owned();
    let path = format!("{}:{}", beside.display(), std::env::var("PATH").unwrap());
    let mut reader = Reader { folder: folder.path().to_owned(), path, running: Vec::new() };
    // Nobody else may take the port before the engine does.
    let mut port = Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = port.as_ref().unwrap().local_addr().unwrap().to_string();
    // Where the next run finds what the first one built.
    let target = beside.parent().unwrap().join("corpus/target");
    fs::create_dir_all(&target).unwrap();

    let (mut file, mut last, mut compared) = (String::new(), String::new(), 0);
    for (mark, text) in blocks(GUIDE) {
        let text = text.replace("127.0.0.1:8080", &address);
        match mark.as_str() {
            "file" => file = text,
            "rust,ignore" => fs::write(reader.folder.join(&file), text).unwrap(),
            "sh" => {
                reader.run(&text);
                if let Some(into) = text.lines().find_map(|line| line.strip_prefix("cd ")) {
                    reader.folder.push(into);
                    symlink(&target, reader.folder.join("target")).unwrap();
                }
                last = text;
            }
            "sh background" => {
                let log = fs::File::create(reader.folder.join("stderr.log")).unwrap();
                let mut command = reader.shell(&format!("exec {text}"));
                drop(port.take());
                reader.running.push(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
                let client = tally_tests::client::Client::new(address.parse().unwrap()).unwrap();
                client.ready(PATIENCE).unwrap();
            }
            "json" => {
                let expected: Value = serde_json::from_str(&text).unwrap();
                let begun = Instant::now();
                loop {
                    let said = reader.run(&last);
                    let said: Value = serde_json::from_str(&said)
                        .unwrap_or_else(|fault| panic!("{fault}: {said}"));
                    if said["result"] == expected["result"] {
                        break;
                    }
                    assert!(begun.elapsed() < PATIENCE, "{said}\nand not {expected}");
                    // Between two questions.
                    std::thread::sleep(Duration::from_millis(50));
                }
                compared += 1;
            }
            other => panic!("the guide has a block marked {other:?}"),
        }
    }
    assert!(compared > 0 && reader.running.len() == 1, "the guide asks nothing");
    let answers =
        fs::read_to_string(reader.folder.join("tests/golden/day/answers.ndjson")).unwrap();
    let own = root().join("examples/buy_rate");
    let kept = fs::read_to_string(own.join("tests/golden/day/answers.ndjson")).unwrap();
    assert_eq!(answers, kept, "the example is what the guide leaves");
    assert_eq!(
        fs::read_to_string(reader.folder.join("src/lib.rs")).unwrap(),
        fs::read_to_string(own.join("src/lib.rs")).unwrap(),
        "the example is what the guide leaves"
    );
    drop(reader);
    the_example_is_dropped_in(&target);
}

/// After the guide, since both build a file of the same name.
fn the_example_is_dropped_in(target: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for what in ["build", "test"] {
        let mut command = Command::new(&cargo);
        command
            .args([what, "--release", "--locked", "--offline"])
            .current_dir(root().join("examples/buy_rate"));
        let output =
            command.env("CARGO_TARGET_DIR", target).env_remove("RUSTFLAGS").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let home = Home::new("[plugins]\ndir = \"plugins\"\n").unwrap();
    fs::create_dir(home.path().join("plugins")).unwrap();
    fs::copy(target.join("release/libbuy_rate.so"), home.path().join("plugins/libbuy_rate.so"))
        .unwrap();
    let tally = home.start().unwrap();
    let event = |kind: &str| {
        json!({"user_id": 1, "product_id": "sku", "event_type": kind}).to_string() + "\n"
    };
    let position =
        tally.client.post_all(&[event("view"), event("view"), event("buy")].concat()).unwrap();
    let answered = tally.client.ask("buy_rate", &json!({}), &position).unwrap();
    assert_eq!(answered, json!([{"product_id": "sku", "views": 2, "buys": 1, "rate": 0.5}]));
    tally.stop().unwrap();
}
