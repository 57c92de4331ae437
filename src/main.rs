//! The program `dualstep`: train, evaluate and check from the command line. All of it lives in `cli`, on top of the
//! library, which knows nothing of it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
