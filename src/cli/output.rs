//! Data on standard output, the rest on standard error; colour on a terminal only.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::exit::Complaint;
pub use super::table::{Table, table};

pub use crate::clock::instant;

/// The form of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Table,
    /// For scripts: stable fields.
    Json,
}

/// Where a command's words go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Output {
    /// See [`Form`].
    pub form: Form,
}

impl Output {
    /// Prints data: as JSON, or as `human` writes it.
    pub fn data<T: Serialize + ?Sized>(&self, data: &T, human: impl FnOnce() -> String) {
        let text = match self.form {
            Form::Json => match serde_json::to_string_pretty(data) {
                Ok(text) => text,
                Err(error) => return self.note(&format!("can't be written as JSON: {error}")),
            },
            Form::Table => human(),
        };
        if !text.is_empty() {
            print(&text);
        }
    }

    /// Tells a person something that is no data.
    pub fn note(&self, text: &str) {
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// Says why a command did not do what it was asked.
    pub fn complain(&self, complaint: &Complaint) {
        if self.form == Form::Json {
            if let Ok(text) = serde_json::to_string_pretty(&complaint.document()) {
                print(&text);
            }
            return;
        }
        self.warn(complaint);
    }

    /// The same beside data that is printed all the same: on standard error alone.
    pub fn warn(&self, complaint: &Complaint) {
        let red = style(AnsiColor::Red);
        let mut stderr = anstream::stderr();
        let _ = writeln!(stderr, "{red}error:{red:#} {}", complaint.message);
        if let Some(remedy) = &complaint.remedy {
            let _ = writeln!(stderr, "  {remedy}");
        }
    }
}

/// Prints to standard output; a reader that has gone away is no failure.
fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// A colour in bold.
pub fn style(colour: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(colour.into()))
}

/// An instant that may be missing.
pub fn instant_or(at: Option<DateTime<Utc>>, otherwise: &str) -> String {
    at.map_or_else(|| otherwise.to_owned(), instant)
}
