//! The `tally` binary: the command line of the library, and nothing else.

fn main() -> std::process::ExitCode {
    tally_server::cli::main()
}
