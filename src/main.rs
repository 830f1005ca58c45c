//! The `ocm-controller` program: parses arguments, sets up TLS, runs the command, exits.

use std::process::ExitCode;

use ocm_controller::cli::{execute, parse, report};

#[tokio::main]
async fn main() -> ExitCode {
    let invocation = parse(std::env::args());
    // Fails only where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match execute(invocation, &mut std::io::stdout()).await {
        Ok(code) => code,
        Err(error) => report(&error),
    }
}
