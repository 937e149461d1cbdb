//! Data on standard output, the rest on standard error; colour on a terminal only.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::Complaint;

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

/// In fewer columns than these, a table's cells would be cut to single letters.
const NARROWEST: u16 = 60;

/// A colour in bold.
pub fn style(colour: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(colour.into()))
}

/// A table of these columns that fits its terminal.
pub fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(
        columns
            .iter()
            .map(|column| column.to_uppercase())
            .collect::<Vec<_>>(),
    );
    // Into a pipe each row is one line, for grep; so it is where the terminal does not tell its
    // width, or is too narrow for any table.
    let is_wide = table.width().is_some_and(|width| width >= NARROWEST);
    if std::io::stdout().is_terminal() && is_wide {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// An instant that may be missing.
pub fn instant_or(at: Option<DateTime<Utc>>, otherwise: &str) -> String {
    at.map_or_else(|| otherwise.to_owned(), instant)
}
