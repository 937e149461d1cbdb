//! `connection add`

use super::super::args;
use super::super::exit::{Complaint, Exit};
use super::super::output::Output;

pub(in crate::cli) async fn run(
    _global: &args::Global,
    _args: args::Add,
    _output: Output,
) -> Result<Exit, Complaint> {
    Err(Complaint::failed(
        "not-built",
        "this command is not built yet",
    ))
}
