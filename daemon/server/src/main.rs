//! `helpline`: arguments to a command.

use std::process::ExitCode;

use clap::Parser as _;
use helpline::cli::Cli;

/// Gives freed pages back to the system; glibc's heap stays as large as its busiest hour.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two crates in the tree bring a crypto provider; rustls cannot choose by itself.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("helpline: TLS is already set up");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("helpline: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("helpline: {error:#}");
            ExitCode::FAILURE
        }
    }
}
