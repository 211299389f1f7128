//! The command line; see [`otel_xray_local::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    otel_xray_local::cli::run()
}
