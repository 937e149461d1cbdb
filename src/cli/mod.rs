//! The command line: what is asked, and in which form it is answered.
//!
//! | file | what it holds |
//! |---|---|
//! | `args` | every command and flag |
//! | `context` | the settings, the store and the engine that a command starts with |
//! | `confirm` | what is asked before something is removed |
//! | `exit` | exit codes and complaints |
//! | `output` | JSON, colour and times |
//! | `table` | tables that fit their terminal |
//! | `owner` | that root leaves nothing that the service can't read |
//! | `view` | a connection as `show`, `list` and `status` print it |
//! | `rotation_view` | a rotation as `rotate`, `deliver` and `rollback` print it |
//! | `holdings` | whether destinations hold the current secret |
//! | `secret_input` | a client secret from a file, standard input or a prompt |
//! | `prompt` | a prompt that does not show what is typed |
//! | `progress` | what a person sees while a rotation goes on |
//! | the rest | a file for each command |

mod apply;
mod args;
mod backup;
mod confirm;
mod connection;
mod context;
mod deliver;
mod demo;
mod exit;
mod history;
mod holdings;
mod init;
pub mod log;
mod master_key;
mod notify;
mod orphans;
mod output;
mod owner;
mod progress;
mod prompt;
mod revoke;
mod rotate;
mod rotation_view;
mod run;
mod sandbox;
mod schedule;
mod secret;
mod secret_input;
mod shell;
mod status;
mod table;
mod verify;
mod view;

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub use args::{Cli, Command};
pub use exit::{Complaint, Exit};
use output::{Form, Output};

/// Runs one command line, its name first, and says how it ended.
pub async fn run(line: Vec<OsString>) -> Exit {
    match Cli::try_parse_from(&line) {
        Ok(cli) => {
            let output = Output {
                form: cli.global.output,
            };
            command(cli, output).await.unwrap_or_else(|complaint| {
                output.complain(&complaint);
                complaint.exit
            })
        }
        Err(error) => usage(&with_hint(without_secrets(error)), &line),
    }
}

async fn command(cli: Cli, output: Output) -> Result<Exit, Complaint> {
    let global = cli.global;
    match cli.command {
        Command::Init(args) => init::run(&global, args, output).await,
        Command::Connection(command) => connection::run(&global, command, output).await,
        Command::Adopt(args) => {
            let context = context::Context::open(&global.config, output)?;
            connection::add::run(&context, *args).await
        }
        Command::Apply(args) => apply::run(&global, args, output).await,
        Command::Rotate(args) => rotate::run(&global, args, output).await,
        Command::Revoke(args) => revoke::run(&global, args, output).await,
        Command::Deliver(args) => deliver::run(&global, args, output).await,
        Command::Rollback(args) => deliver::rollback(&global, args, output).await,
        Command::Run => run::run(&global, output).await,
        Command::Status(args) => status::run(&global, args, output).await,
        Command::History(args) => history::run(&global, args, output).await,
        Command::Verify(args) => verify::run(&global, args, output).await,
        Command::Secret(args) => secret::run(&global, args, output).await,
        Command::Schedule(args) => schedule::run(&global, args, output).await,
        Command::Orphans(args) => orphans::run(&global, args, output).await,
        Command::MasterKey(command) => master_key::run(&global, command, output).await,
        Command::Notify(command) => notify::run(&global, command, output).await,
        Command::Backup(args) => backup::backup(&global, args, output).await,
        Command::Restore(args) => backup::restore(&global, args, output).await,
        Command::Sandbox(args) => sandbox::run(args, output).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::Completions(args) => shell::completions(&args),
        Command::Man => shell::man(),
    }
}

/// clap repeats what it was given, which may be a secret that was pasted there (P6).
fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [
        ContextKind::InvalidValue,
        ContextKind::InvalidArg,
        ContextKind::InvalidSubcommand,
    ] {
        let Some(ContextValue::String(given)) = error.get(kind) else {
            continue;
        };
        let shown = crate::text::shown(given);
        if shown != *given {
            error.insert(kind, ContextValue::String(shown));
            // It repeats it, too.
            error.insert(ContextKind::Suggested, ContextValue::None);
        }
    }
    error
}

/// What people type for `connection list` and `connection show`.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let meant = match given.as_str() {
        "list" | "ls" | "connections" => "connection list",
        "show" => "connection show NAME",
        "add" | "edit" | "remove" | "pause" | "resume" | "restore" | "export" => {
            &format!("connection {given}")
        }
        _ => return error,
    };
    let meant = ContextValue::Strings(vec![meant.to_owned()]);
    error.insert(ContextKind::SuggestedSubcommand, meant);
    error
}

/// What clap found wrong, or its help. With `-o json` the error is a document as any other is.
fn usage(error: &clap::Error, line: &[OsString]) -> Exit {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // A reader that has gone away is no failure.
        let _ = error.print();
        return Exit::Done;
    }
    let words: Vec<&str> = line.iter().filter_map(|word| word.to_str()).collect();
    let json = words
        .iter()
        .any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words
            .windows(2)
            .any(|pair| matches!(pair, ["-o" | "--output", "json"]));
    if json {
        let message = first_paragraph(&error.render().to_string());
        Output { form: Form::Json }.complain(&Complaint::usage("usage", message));
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

/// What is wrong, without the usage that clap prints below it.
fn first_paragraph(rendered: &str) -> String {
    let paragraph = rendered.split("\n\n").next().unwrap_or(rendered);
    let sentence = paragraph.strip_prefix("error: ").unwrap_or(paragraph);
    crate::text::harmless(sentence, 2_000)
}
