//! Words that a user wrote, shown back: harmless, short, and with the nearest valid one.

use std::fmt;
use std::path::Path;

/// The longest text of a user's that a message repeats, in characters.
const LONGEST: usize = 60;

/// From this length on a word with a digit or a capital in it may be a secret: Entra's are longer.
const SUSPICIOUS: usize = 24;

/// `text` in quotes, as a message may repeat it: bounded, without control characters and without
/// anything that looks like a secret (P6).
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// `text` as a message may repeat it: see [`quoted`].
pub fn shown(text: &str) -> String {
    let mut shown: String = harmless(text).map(|(_, c)| c).take(LONGEST + 1).collect();
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
pub fn harmless(text: &str) -> impl Iterator<Item = (usize, char)> {
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
        (!c.is_control() && !turns_writing(c)).then_some((place, c))
    })
}

/// All of `text`, but for control characters and marks that turn the writing direction.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !turns_writing(*c))
        .collect()
}

/// The candidate nearest to `text`, where one is near enough to be meant.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_few(text, candidates, 1).pop()
}

/// Up to `count` candidates that may be meant by `text`, the nearest first.
pub fn nearest_few<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    // Nothing this long is a typing mistake, and comparing takes time by the square.
    if text.len() > 2 * LONGEST {
        return Vec::new();
    }
    let text = text.to_lowercase();
    let mut near: Vec<_> = candidates
        .into_iter()
        .map(|candidate| (likeness(&text, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(count).map(|(_, c)| c).collect()
}

/// The end of a sentence: `; did you mean "x"?`, or nothing.
pub fn did_you_mean<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(text, candidates).map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

/// As [`did_you_mean`], but where none is near it lists them all: for short lists.
pub fn hint<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let candidates: Vec<_> = candidates.into_iter().collect();
    match did_you_mean(text, candidates.iter().copied()) {
        none if none.is_empty() => format!("; known: {}", listed(candidates)),
        hint => hint,
    }
}

/// `a, b and c`
pub fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match (items.pop(), items.is_empty()) {
        (Some(last), false) => format!("{} and {last}", items.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

/// From 0, nothing in common, to 1, the same.
fn likeness(a: &str, b: &str) -> f64 {
    // One is often the last part of the other: `Berlin` for `Europe/Berlin`.
    let tail = b.rsplit('/').next().unwrap_or(b);
    let whole = strsim::normalized_damerau_levenshtein(a, b);
    let last = strsim::normalized_damerau_levenshtein(a, tail) * 0.95;
    whole.max(last)
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

fn turns_writing(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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

    #[test]
    fn the_nearest_name_is_found_and_nothing_far_fetched() {
        assert_eq!(nearest("pubilc", ["usgov", "public"]), Some("public"));
        assert_eq!(nearest("mars", ["usgov", "public"]), None);
        assert_eq!(listed(["a", "b", "c"]), "a, b and c");
    }
}
