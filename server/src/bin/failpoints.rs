//! `tally` with named moments at which a test may end it: the command line of the binary that is
//! shipped, and nothing else.

fn main() -> std::process::ExitCode {
    tally_server::cli::main()
}
