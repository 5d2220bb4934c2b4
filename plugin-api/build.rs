//! Hands the target triple and the compiler's version to the handshake.

use std::env;
use std::process::Command;

fn main() {
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown".into());
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=TALLY_TARGET={target}");
    println!("cargo::rustc-env=TALLY_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
