//! The `tally` binary: the command line. Everything it can do is in `cli`; what answers over HTTP
//! is the library.

mod cli;
mod produce;

fn main() -> std::process::ExitCode {
    cli::main()
}
