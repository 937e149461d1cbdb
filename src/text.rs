//! Text that others wrote, made harmless before anybody reads it.
//!
//! What looks like a secret depends on where it stands: a server's message is cut more readily
//! ([`without_secrets`]) than a line of the user's own ([`shown`]), in which addresses and paths
//! must stay.

mod answered;
mod typed;

use std::fmt;

pub use answered::{code_word, without_secrets};
pub use typed::{harmless_chars, shown, shown_path};

/// Text from Entra or from a user: kept as it came for comparing, shown harmless and short.
///
/// Its `Display` and `Debug` carry no escape sequence, control character or mark that reorders
/// text, and are cut to [`Untrusted::SHOWN`] characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Untrusted(String);

impl Untrusted {
    /// How many characters are shown at most: Entra's own limit for a display name.
    pub const SHOWN: usize = 120;

    /// Takes text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it came: for comparing and parsing, never for showing.
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&harmless(&self.0, Self::SHOWN))
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", harmless(&self.0, Self::SHOWN))
    }
}

/// `text` in one line of at most `limit` characters, without escape sequences, control characters,
/// and marks that are invisible or reorder what stands beside them. A cut ends in `…`.
pub fn harmless(text: &str, limit: usize) -> String {
    let plain = anstream::adapter::strip_str(text).to_string();
    let mut kept = plain.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
        c if steers(c) => None,
        c => Some(c),
    });
    let mut shown: String = kept.by_ref().take(limit).collect();
    if kept.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// All of `text`, but for what [`steers`].
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !steers(*c)).collect()
}

/// Whether a terminal would obey `c` instead of showing it, or nobody would see it: control
/// characters, and marks that are invisible or turn the writing direction.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i2_a_name_loses_what_a_terminal_would_obey() {
        let name = Untrusted::new("a\u{1b}[31mred\u{1b}[0m\u{202e}b\u{9b}\u{7}\nc");
        assert_eq!(name.to_string(), "aredb c");
        assert!(name.raw().contains('\u{1b}'));
    }

    #[test]
    fn i2_a_name_of_ten_thousand_characters_is_cut() {
        let name = Untrusted::new("ä".repeat(10_000)).to_string();
        assert_eq!(name.chars().count(), Untrusted::SHOWN);
        assert!(name.ends_with('…'));
    }
}
