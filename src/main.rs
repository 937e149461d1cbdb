//! The life of the process.

use std::process::ExitCode;

use keywheel::cli::{self, Exit};
use keywheel::process;

fn main() -> ExitCode {
    // Secrets pass through this memory: it is not written to a core file (P6).
    let unprotected = process::forbid_core_dumps().err();
    let line: Vec<_> = std::env::args_os().collect();
    cli::log::begin(&line);
    if let Some(error) = unprotected {
        tracing::warn!(%error, "core dumps can't be switched off");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(cli::run(line)),
        Err(error) => {
            tracing::error!(%error, "the asynchronous runtime does not start");
            Exit::Failed
        }
    };
    ExitCode::from(exit.code())
}
