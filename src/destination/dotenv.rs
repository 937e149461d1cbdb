//! One variable of a dotenv file that others also write: their lines stay, byte for byte.
//!
//! Whoever reads such a file has a grammar of its own: a shell that sources it, systemd's
//! `EnvironmentFile=`, Docker Compose, and the dotenv libraries of each language. So a value is
//! written in a form that all of them read alike, or not at all.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// The name of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable(String);

/// Why a file can't take the secret. No text of the file is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DotenvFault {
    /// Not every reader takes it.
    #[error(
        "the key is no name of a variable: letters, digits and underscores, the first no digit"
    )]
    Variable,
    /// No form of quoting gives every reader the same value.
    #[error(
        "the secret has characters that shells, systemd and dotenv libraries read differently \
         whatever the quotes"
    )]
    Unquotable,
    /// Bytes that are no UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Some readers take the first, others the last.
    #[error("{variable} is set twice, in lines {first} and {second}")]
    Twice {
        /// Which.
        variable: Variable,
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        second: usize,
    },
    /// For some readers this line belongs to the one before.
    #[error("line {line} sets {variable}, but a quote or a backslash before it is still open")]
    Inside {
        /// Which.
        variable: Variable,
        /// Counted from 1.
        line: usize,
    },
    /// For some readers the value goes on.
    #[error("line {line} opens a quote, or ends in a backslash, and goes on in the next line")]
    Open {
        /// Counted from 1.
        line: usize,
    },
}

impl FromStr for Variable {
    type Err = DotenvFault;

    fn from_str(text: &str) -> Result<Self, DotenvFault> {
        let well_formed = text.bytes().all(is_name_byte)
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        well_formed
            .then(|| Self(text.to_owned()))
            .ok_or(DotenvFault::Variable)
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `existing` with `variable` set to `value`: in its own line, or in a new one at the end.
///
/// `export` stays. A comment behind the old value moves to a line of its own, since systemd would
/// take it for a part of the value.
pub(super) fn splice(
    existing: Option<&[u8]>,
    variable: &Variable,
    value: &str,
) -> Result<Zeroizing<String>, DotenvFault> {
    let value = quoted(value)?;
    let text = str::from_utf8(existing.unwrap_or_default()).map_err(|_| DotenvFault::NotText)?;
    if let Some(line) = own_line(text, variable)? {
        let (before, after) = (&text[..line.start], &text[line.end()..]);
        let lead = line.assignment.lead;
        let parts: [&str; 9] = match line.comment() {
            Some(comment) => {
                let eol = if line.eol.is_empty() { "\n" } else { line.eol };
                [
                    before,
                    comment,
                    eol,
                    lead,
                    &variable.0,
                    "=",
                    &value,
                    line.eol,
                    after,
                ]
            }
            None => [
                before,
                "",
                "",
                lead,
                &variable.0,
                "=",
                &value,
                line.eol,
                after,
            ],
        };
        return Ok(Zeroizing::new(parts.concat()));
    }
    let eol = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let ended = text.is_empty() || text == MARK || text.ends_with('\n');
    let parts: [&str; 6] = [
        text,
        if ended { "" } else { eol },
        &variable.0,
        "=",
        &value,
        eol,
    ];
    Ok(Zeroizing::new(parts.concat()))
}

/// The value of `variable`; `None` where it has none that every reader takes for the same.
pub(super) fn read_back(existing: &[u8], variable: &Variable) -> Option<Zeroizing<String>> {
    let text = str::from_utf8(existing).ok()?;
    let line = own_line(text, variable).ok()??;
    let token = line.assignment.rest;
    if line.assignment.spaced {
        return None;
    }
    let unquoted = |quote: char| token.strip_prefix(quote)?.strip_suffix(quote);
    let value = match () {
        () if is_plain(token) => token,
        () if unquoted('\'').is_some_and(fits_single_quotes) => unquoted('\'')?,
        () if unquoted('"').is_some_and(fits_double_quotes) => unquoted('"')?,
        () => return None,
    };
    Some(Zeroizing::new(value.to_owned()))
}

/// The simplest form that is read alike everywhere.
fn quoted(value: &str) -> Result<Zeroizing<String>, DotenvFault> {
    let parts: [&str; 3] = match () {
        () if is_plain(value) => ["", value, ""],
        () if fits_single_quotes(value) => ["'", value, "'"],
        () if fits_double_quotes(value) => ["\"", value, "\""],
        () => return Err(DotenvFault::Unquotable),
    };
    Ok(Zeroizing::new(parts.concat()))
}

/// Needs no quotes. A shell expands `~` at the start and after `=`.
fn is_plain(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"~._-=+%,/@".contains(&byte);
    value.bytes().all(plain) && !value.starts_with('~') && !value.contains("=~")
}

/// Everything is literal for a shell and for systemd; but libraries take `\\` and `\'` for
/// escapes, and python-dotenv expands `${…}` even here.
fn fits_single_quotes(value: &str) -> bool {
    value.bytes().all(is_printable)
        && !value.contains('\'')
        && !value.contains("\\\\")
        && !value.ends_with('\\')
        && !value.contains("${")
}

/// Readers differ over what a backslash and a dollar sign do here, so neither may stand.
fn fits_double_quotes(value: &str) -> bool {
    value.bytes().all(is_printable) && !value.contains(['"', '\\', '$', '`'])
}

fn is_printable(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The byte order mark, which some editors put before the first line.
const MARK: &str = "\u{feff}";

/// The line that sets the variable.
struct OwnLine<'a> {
    /// Its first byte.
    start: usize,
    /// Without the line break.
    text: &'a str,
    /// `\n`, `\r\n`, or nothing at the end of a file.
    eol: &'a str,
    assignment: Assignment<'a>,
}

impl<'a> OwnLine<'a> {
    fn end(&self) -> usize {
        self.start + self.text.len() + self.eol.len()
    }

    /// What stands behind the value, from its `#`.
    fn comment(&self) -> Option<&'a str> {
        match walk(self.assignment.rest, Reader::Value) {
            (Reader::Comment, at) => Some(&self.assignment.rest[at..]),
            _ => None,
        }
    }
}

/// The only line that sets `variable`, if there is one; a fault where readers would differ.
fn own_line<'a>(text: &'a str, variable: &Variable) -> Result<Option<OwnLine<'a>>, DotenvFault> {
    let mut own: Option<(usize, OwnLine<'a>)> = None;
    let mut open_since: Option<usize> = None;
    let mut reader = Reader::Start;
    let body = text.strip_prefix(MARK).unwrap_or(text);
    let mut start = text.len() - body.len();
    for (number, whole) in (1..).zip(body.split_inclusive('\n')) {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let assignment = Assignment::parse(line).filter(|found| found.name == variable.0);
        let ours = assignment.is_some();
        if let Some(assignment) = assignment {
            let variable = variable.clone();
            if open_since.is_some() {
                return Err(DotenvFault::Inside {
                    variable,
                    line: number,
                });
            }
            if let Some((first, _)) = own {
                let second = number;
                return Err(DotenvFault::Twice {
                    variable,
                    first,
                    second,
                });
            }
            let eol = &whole[line.len()..];
            own = Some((
                number,
                OwnLine {
                    start,
                    text: line,
                    eol,
                    assignment,
                },
            ));
        }
        reader = walk(line, reader).0.at_line_break();
        open_since = match reader {
            Reader::Start => None,
            _ if ours => return Err(DotenvFault::Open { line: number }),
            _ => open_since.or(Some(number)),
        };
        start += whole.len();
    }
    match (own, open_since) {
        // A new line at the end would fall into what is open there.
        (_, Some(line)) => Err(DotenvFault::Open { line }),
        (own, None) => Ok(own.map(|(_, line)| line)),
    }
}

/// `lead name = rest`
struct Assignment<'a> {
    /// White space and `export`.
    lead: &'a str,
    name: &'a str,
    /// The value, and a comment perhaps, without white space at the end.
    rest: &'a str,
    /// White space around the equals sign, which a shell does not take.
    spaced: bool,
}

impl<'a> Assignment<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let indented = line.trim_start();
        let exported = indented
            .strip_prefix("export")
            .filter(|rest| rest.starts_with([' ', '\t']))
            .map_or(indented, str::trim_start);
        let lead = &line[..line.len() - exported.len()];
        let length = exported
            .bytes()
            .take_while(|&byte| is_name_byte(byte))
            .count();
        let (name, rest) = exported.split_at(length);
        let value = rest.trim_start().strip_prefix('=')?;
        Some(Self {
            lead,
            name,
            rest: value.trim_end(),
            spaced: !rest.starts_with('=') || value.starts_with([' ', '\t']),
        })
    }
}

/// Where a shell is while it reads a line; what it would take for open, others may as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Before a word.
    Start,
    /// Right behind `=`, where `#` opens no comment.
    Value,
    Word,
    /// The backslash was the last character.
    Escape,
    Single,
    Double,
    DoubleEscape,
    Comment,
    /// systemd before version 254 joins the line after such a comment to it.
    CommentEscape,
}

impl Reader {
    fn step(self, c: char) -> Self {
        match (self, c) {
            (Self::Start, '#') => Self::Comment,
            (Self::Start | Self::Value | Self::Word, c) if c.is_whitespace() => Self::Start,
            (Self::Start | Self::Value | Self::Word, '\'') => Self::Single,
            (Self::Start | Self::Value | Self::Word, '"') => Self::Double,
            (Self::Start | Self::Value | Self::Word, '\\') => Self::Escape,
            (Self::Start | Self::Value | Self::Word | Self::Escape, _) => Self::Word,
            (Self::Single, '\'') | (Self::Double, '"') => Self::Word,
            (Self::Double, '\\') => Self::DoubleEscape,
            (Self::DoubleEscape, _) => Self::Double,
            (Self::Comment, '\\') => Self::CommentEscape,
            (Self::Comment | Self::CommentEscape, _) => Self::Comment,
            (Self::Single | Self::Double, _) => self,
        }
    }

    /// `Start` is the only state in which nothing is open.
    fn at_line_break(self) -> Self {
        match self {
            Self::Start | Self::Value | Self::Word | Self::Comment => Self::Start,
            Self::DoubleEscape => Self::Double,
            open => open,
        }
    }
}

/// Where the reader is after `text`, and where a comment in it starts (or its end).
fn walk(text: &str, from: Reader) -> (Reader, usize) {
    let mut reader = from;
    let mut comment = text.len();
    for (at, c) in text.char_indices() {
        let next = reader.step(c);
        if reader == Reader::Start && next == Reader::Comment {
            comment = at;
        }
        reader = next;
    }
    (reader, comment)
}

#[cfg(test)]
mod tests;
