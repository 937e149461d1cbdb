//! `connection …`: each command that is more than a few lines has a file of its own.

pub(super) mod add;
pub(super) mod declare;
pub(super) mod edit;
mod export;
mod hold;
mod list;
pub(super) mod remove;

use super::args::{self, ConnectionCommand};
use super::context::Context;
use super::exit::{Complaint, Exit};
use super::output::Output;

pub(super) async fn run(
    global: &args::Global,
    command: ConnectionCommand,
    output: Output,
) -> Result<Exit, Complaint> {
    let looks = matches!(
        command,
        ConnectionCommand::List | ConnectionCommand::Show(_) | ConnectionCommand::Export { .. }
    );
    let context = if looks {
        Context::open_to_look(&global.config, output)?
    } else {
        Context::open(&global.config, output)?
    };
    match command {
        ConnectionCommand::Add(args) => add::run(&context, *args).await,
        ConnectionCommand::List => list::run(&context).await,
        ConnectionCommand::Show(args) => list::show(&context, &args.name).await,
        ConnectionCommand::Edit(args) => edit::run(&context, *args).await,
        ConnectionCommand::Remove(args) => remove::run(global, &context, &args.name).await,
        ConnectionCommand::Restore(args) => remove::restore(&context, &args.name).await,
        ConnectionCommand::Pause(args) => hold::pause(&context, &args.name).await,
        ConnectionCommand::Resume(args) => hold::resume(&context, &args.name).await,
        ConnectionCommand::Export { names } => export::run(&context, &names).await,
    }
}
