//! `completions` and `man`: both are made from the definition of the command line.

use std::io::Write;

use clap::CommandFactory;

use super::args::{Cli, Completions};
use super::exit::{Complaint, Exit};

/// Prints the completions of one shell.
pub(super) fn completions(args: &Completions) -> Result<Exit, Complaint> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keywheel", &mut text);
    print(&text)
}

/// Prints the manual page, every command included.
pub(super) fn man() -> Result<Exit, Complaint> {
    let mut text = Vec::new();
    let command = Cli::command().disable_help_subcommand(true);
    page(&command, &mut text).map_err(|error| Complaint::failed("man", error.to_string()))?;
    print(&text)
}

fn page(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(text)?;
    command.get_subcommands().try_for_each(|sub| {
        let name = format!("{}-{}", command.get_name(), sub.get_name());
        page(&sub.clone().name(name), text)
    })
}

fn print(text: &[u8]) -> Result<Exit, Complaint> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Complaint::failed("stdout", error.to_string()))
        }
        _ => Ok(Exit::Done),
    }
}
