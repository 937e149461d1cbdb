//! `connection …`: each command that is more than a few lines has a file of its own.

pub(super) mod add;
pub(super) mod declare;
pub(super) mod edit;
mod export;
mod hold;
mod list;
pub(super) mod remove;

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
        ConnectionCommand::Edit(args) => edit::run(global, *args, output).await,
        ConnectionCommand::Remove(args) => remove::run(global, &args.name, output).await,
        ConnectionCommand::Restore(args) => remove::restore(global, &args.name, output).await,
        ConnectionCommand::Pause(args) => hold::pause(global, &args.name, output).await,
        ConnectionCommand::Resume(args) => hold::resume(global, &args.name, output).await,
        ConnectionCommand::Export { names } => export::run(global, &names, output).await,
    }
}
