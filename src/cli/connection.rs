//! `connection …`: each command that is more than a few lines has a file of its own.

pub(super) mod add;
pub(super) mod declare;
mod list;

use super::args::{self, ConnectionCommand};
use super::exit::{Complaint, Exit};
use super::output::Output;

pub(super) async fn run(
    global: &args::Global,
    command: ConnectionCommand,
    output: Output,
) -> Result<Exit, Complaint> {
    match command {
        ConnectionCommand::Add(args) => add::run(global, *args, output).await,
        ConnectionCommand::List => list::run(global, output).await,
        ConnectionCommand::Show(args) => list::show(global, &args.name, output).await,
        _ => Err(Complaint::failed(
            "not-built",
            "this command is not built yet",
        )),
    }
}
