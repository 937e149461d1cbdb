//! What is wrong with a file of the user's, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::text::{harmless_chars, shown_path};

/// The widest piece of a line that is shown.
const WIDEST: usize = 100;

/// All that is wrong with a settings file or an `apply` file, in the order of its lines. It is
/// never empty; a command that meets it ends with exit code 2 and has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsFaults {
    file: PathBuf,
    faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, and what to do about it.
    pub message: String,
    /// Where; `None`: with the file as a whole.
    pub place: Option<Place>,
}

/// The text of a file that was read, for what is found wrong with it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    file: PathBuf,
    text: String,
}

/// Where in a [`Text`] a table and its values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub(super) table: Range<usize>,
    pub(super) values: BTreeMap<String, Range<usize>>,
}

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, as far as it may be shown.
    excerpt: String,
    /// How much of the excerpt is before the fault, and how much is the fault.
    mark: (usize, usize),
}

impl SettingsFaults {
    /// The file as a whole is no good.
    pub(super) fn whole(file: &Path, message: String) -> Self {
        Self {
            file: file.to_owned(),
            faults: vec![Fault {
                message,
                place: None,
            }],
        }
    }

    /// Faults at places in `text`, given in bytes; at least one.
    pub(super) fn at(file: &Path, text: &str, mut faults: Vec<(Range<usize>, String)>) -> Self {
        faults.sort_by_key(|(span, _)| span.start);
        let faults = faults.into_iter().map(|(span, message)| Fault {
            message,
            place: Some(Place::new(text, span)),
        });
        Self {
            file: file.to_owned(),
            faults: faults.collect(),
        }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }
}

impl Text {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
        }
    }

    /// What is wrong at these places; at least one.
    pub fn faults(&self, faults: Vec<(Range<usize>, String)>) -> SettingsFaults {
        SettingsFaults::at(&self.file, &self.text, faults)
    }
}

impl Written {
    /// The value of `key`, or the table where it has no such key.
    pub fn at(&self, key: &str) -> Range<usize> {
        self.values.get(key).unwrap_or(&self.table).clone()
    }
}

impl fmt::Display for SettingsFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = shown_path(&self.file);
        for (n, Fault { message, place }) in self.faults.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            match place {
                Some(at) => write!(f, "{file}:{}:{}: {message}{at}", at.line, at.column)?,
                None => write!(f, "{file}: {message}")?,
            }
        }
        Ok(())
    }
}

impl Place {
    fn new(text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &text[line_start..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        // What looks like a secret is cut before anything is counted (P6).
        let (places, excerpt): (Vec<usize>, String) = harmless_chars(line).take(WIDEST).unzip();
        let kept = |end: usize| {
            let within = places.iter().take_while(|at| line_start + **at < end);
            within.count()
        };
        let mark = (
            kept(start),
            kept(span.end) - kept(start).min(kept(span.end)),
        );
        Self {
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            excerpt,
            mark,
        }
    }
}

/// The line, and a mark under what is wrong in it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let (before, width) = self.mark;
        let blank = " ".repeat(before);
        let carets = "^".repeat(width.max(1));
        let excerpt = self.excerpt.trim_end();
        write!(f, "\n  {number} | {excerpt}\n  {gutter} | {blank}{carets}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, wrong: &str) -> String {
        let start = text.find(wrong).unwrap();
        let fault = (start..start + wrong.len(), "wrong".to_owned());
        SettingsFaults::at(Path::new("k.toml"), text, vec![fault]).to_string()
    }

    #[test]
    fn a_fault_is_shown_with_its_place_and_line() {
        assert_eq!(
            shown("a = 1\n\u{e9} = soon # x\n", "soon"),
            "k.toml:2:5: wrong\n  2 | \u{e9} = soon # x\n    |     ^^^^"
        );
    }

    #[test]
    fn p6_a_line_with_a_secret_is_cut() {
        let secret = "abc8Q~0123456789012345678901234567890";
        let text = format!("client_secret = \"{secret}\"");
        for wrong in [
            "client_secret",
            "\"abc8Q~0123456789012345678901234567890\"",
            "8Q~",
        ] {
            let shown = shown(&text, wrong);
            assert!(!shown.contains("8Q"), "{shown}");
            assert!(shown.contains("client_secret = \"abc…\""), "{shown}");
        }
    }

    #[test]
    fn i2_a_line_of_any_kind_is_shown_harmless() {
        let text = format!("x = \u{1b}[31m{}", "y".repeat(100_000));
        assert!(shown(&text, "x").len() < 400);
        assert!(!shown(&text, "x").contains('\u{1b}'));
        // A mark behind the end, or in the middle of a character, breaks nothing.
        let place = Place::new("\u{e9}", 1..9);
        assert_eq!((place.line, place.column), (1, 1));
        assert_eq!(Place::new("", 5..7).line, 1);
    }
}
