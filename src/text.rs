//! Text that others wrote, made harmless before anybody reads it.

use std::fmt;

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
        c if c.is_control() || is_invisible(c) => None,
        c => Some(c),
    });
    let mut shown: String = kept.by_ref().take(limit).collect();
    if kept.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// As [`harmless`], with every word cut that may be a secret or a token: long, and no GUID.
///
/// Servers repeat what they were sent in their error messages (P6).
pub fn without_secrets(text: &str, limit: usize) -> String {
    // First: what is invisible could cut a secret into words that look like none.
    let plain = harmless(text, text.len());
    let words: Vec<&str> = plain
        .split_whitespace()
        .map(|word| if may_be_secret(word) { "…" } else { word })
        .collect();
    harmless(&words.join(" "), limit)
}

/// An error code of a server's, if it looks like one; else `unknown-code`.
pub fn code_word(code: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let looks_like_one = (1..=64).contains(&code.len()) && code.chars().all(is_part);
    if looks_like_one && !may_be_secret(code) {
        code.to_owned()
    } else {
        "unknown-code".to_owned()
    }
}

/// Client secrets have 16 to 64 characters, today's have 40; those of 16 can't be told from words.
fn may_be_secret(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let prose = bare
        .chars()
        .all(|c| c.is_ascii_alphabetic() || matches!(c, '.' | '_' | '/' | '-' | '\''));
    bare.len() >= 20 && !prose && uuid::Uuid::try_parse(bare).is_err()
}

fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
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

    #[test]
    fn p6_a_secret_in_a_message_is_cut_and_a_guid_is_not() {
        let message = "secret 'abc8Q~0123456789012345678901234567890' of \
                       6f9619ff-8b86-d011-b42d-00cf4fc964ff is bad.";
        assert_eq!(
            without_secrets(message, 200),
            "secret … of 6f9619ff-8b86-d011-b42d-00cf4fc964ff is bad."
        );
    }

    #[test]
    fn p6_only_what_looks_like_a_code_is_repeated_as_one() {
        for code in [
            "CredentialInvalidLifetimeAsPerAppPolicy",
            "Directory_ConcurrencyViolation",
            "invalid_client",
        ] {
            assert_eq!(code_word(code), code);
        }
        let secret = "abc8Q.0123456789012345678901234567890";
        for odd in ["", "<script>", "a b", secret, &"a".repeat(65)] {
            assert_eq!(code_word(odd), "unknown-code", "{odd}");
        }
    }
}
