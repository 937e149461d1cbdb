//! What a person is asked: a yes, or a secret that does not echo.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::args;
use super::exit::Complaint;
use crate::secret_file::{self, SecretFault};

/// Whether a person agrees; `--yes` says so beforehand, and must where nobody can be asked.
pub fn confirmed(global: &args::Global, question: &str) -> Result<bool, Complaint> {
    if global.yes {
        return Ok(true);
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Complaint::usage(
            "confirmation-needed",
            format!("{question} There is no terminal to ask on"),
        )
        .remedy("add --yes to say so beforehand"));
    }
    // Where it can't be shown, no answer comes either.
    let mut stderr = anstream::stderr();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|error| Complaint::failed("stdin", error.to_string()))?;
    let answer = answer.trim();
    Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
}

/// A client secret: from `file`, else from standard input, else from a prompt on a terminal.
pub fn secret(file: Option<&Path>, whose: &str) -> Result<SecretString, Complaint> {
    let stdin = std::io::stdin();
    let given = match file {
        Some(path) => secret_file::read(path),
        None if !stdin.is_terminal() => secret_file::read_from(&mut stdin.lock()),
        None => {
            let typed = rpassword::prompt_password(format!("Secret of {whose} (not shown): "))
                .map(Zeroizing::new)
                .map_err(|error| Complaint::failed("stdin", error.to_string()))?;
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
