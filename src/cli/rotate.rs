//! `rotate`

use super::args;
use super::exit::{Complaint, Exit};
use super::output::Output;

pub(super) async fn run(
    _global: &args::Global,
    _args: args::Rotate,
    _output: Output,
) -> Result<Exit, Complaint> {
    Err(Complaint::failed(
        "not-built",
        "this command is not built yet",
    ))
}
