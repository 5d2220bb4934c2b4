//! `tally` with named moments at which a test may end it: the command line of the binary that is
//! shipped, and nothing else.

#[path = "../cli/mod.rs"]
mod cli;
#[path = "../produce/mod.rs"]
mod produce;

fn main() -> std::process::ExitCode {
    cli::main()
}
