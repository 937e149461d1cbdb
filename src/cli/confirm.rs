//! What is asked before something is removed.

use std::io::{self, IsTerminal};

use super::args::Global;
use super::exit::Complaint;
use super::output::Output;

/// Asks on a terminal; elsewhere, only `--yes` is an answer.
pub(super) fn confirm(global: &Global, output: Output, question: &str) -> Result<(), Complaint> {
    if global.yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Complaint::usage(
            "not-confirmed",
            format!("this asks before it goes on: {question}"),
        )
        .remedy("without a terminal, add --yes; nothing was changed"));
    }
    output.note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(Complaint::failed("not-confirmed", "nothing was changed")),
    }
}
