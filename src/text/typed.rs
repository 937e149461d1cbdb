//! Words that a user typed or pasted, shown back: short, and without a secret among them.

use std::path::Path;

use super::{printable, steers};

/// The longest text of a user's that a message repeats, in characters.
const LONGEST: usize = 60;

/// From this length on a word with a digit or a capital in it may be a secret: Entra's are longer.
const SUSPICIOUS: usize = 24;

/// `text` as a message may repeat it: bounded, without what steers a terminal, and without
/// anything that looks like a secret (P6).
pub fn shown(text: &str) -> String {
    let mut shown: String = harmless_chars(text)
        .map(|(_, c)| c)
        .take(LONGEST + 1)
        .collect();
    if shown.chars().count() > LONGEST {
        shown = shown.chars().take(LONGEST - 1).collect();
        shown.push('…');
    }
    shown
}

/// A path of a user's, as a message may repeat it: a bare word where a file was expected may be a
/// secret that was pasted there.
pub fn shown_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.contains('/') {
        printable(&text)
    } else {
        shown(&text)
    }
}

/// The characters of `text` with their places in it: control characters and marks that turn the
/// writing direction are left out, and of a word that looks like a secret only the first three stay.
pub fn harmless_chars(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut left = usize::MAX;
    let mut words = words(text).peekable();
    text.char_indices().filter_map(move |(place, c)| {
        while words
            .next_if(|word| word.0 + word.1.len() <= place)
            .is_some()
        {
            left = usize::MAX;
        }
        if let Some((start, word)) = words.peek()
            && *start == place
        {
            left = if is_suspicious(word) { 4 } else { usize::MAX };
        }
        let secret = match left {
            usize::MAX => false,
            0 => return None,
            _ => {
                left -= 1;
                left == 0
            }
        };
        let c = if secret { '…' } else { c };
        (!steers(c)).then_some((place, c))
    })
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'[]{},".contains(c);
    text.split_inclusive(ends).scan(0, move |place, piece| {
        let start = *place;
        *place += piece.len();
        Some((start, piece.trim_end_matches(ends)))
    })
}

/// GUIDs, host names in small letters, and zones and paths without digits are none.
fn is_suspicious(word: &str) -> bool {
    let has = |what: fn(char) -> bool| word.contains(what);
    let random = has(|c| c.is_ascii_digit()) || (has(char::is_uppercase) && !word.contains('/'));
    random && word.chars().count() >= SUSPICIOUS && uuid::Uuid::try_parse(word).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_a_word_that_looks_like_a_secret_is_cut() {
        let line = "secret = \"abc8Q~0123456789012345678901234567890\" # x";
        assert_eq!(shown(line), "secret = \"abc…\" # x");
        let guid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        assert_eq!(shown(guid), guid);
        let zone = "America/Argentina/Buenos_Aires";
        assert_eq!(shown(zone), zone);
    }

    #[test]
    fn i2_control_characters_and_turned_writing_are_left_out() {
        assert_eq!(shown("a\u{1b}[31mb\u{202e}c\n"), "a[31mbc");
        assert_eq!(shown(&"x".repeat(10_000)).chars().count(), LONGEST);
    }
}
