//! A client secret that somebody gives.

use std::io::IsTerminal;
use std::path::Path;

use secrecy::SecretString;

use super::exit::Complaint;
use super::prompt;
use crate::secret_file::{self, SecretFault};

/// From `file`, else from standard input, else from a prompt on a terminal.
pub(super) fn read(file: Option<&Path>, whose: &str) -> Result<SecretString, Complaint> {
    let stdin = std::io::stdin();
    let given = match file {
        Some(path) => secret_file::read(path),
        None if !stdin.is_terminal() => secret_file::read_from(&mut stdin.lock()),
        None => {
            let question = format!("Secret of {whose} (not shown): ");
            let typed = prompt::hidden_line(&question).map_err(|error| {
                Complaint::usage(
                    "terminal",
                    format!("the secret can't be asked for: {error}"),
                )
                .remedy("write it to standard input, or name --secret-file")
            })?;
            secret_file::parse(&typed)
        }
    };
    given.map_err(|fault| {
        let empty = fault == SecretFault::Empty;
        let complaint = Complaint::usage("secret", fault.to_string());
        match file {
            None if empty => complaint.remedy("write it to standard input, or name --secret-file"),
            _ => complaint,
        }
    })
}
