//! Text of others, made fit for a terminal or a log.

use std::path::Path;

use crate::text::steers;

/// As much of a foreign text as an error repeats.
const LONGEST: usize = 400;

/// `text` without control characters and runs of white space.
pub(super) fn flattened(text: &str) -> String {
    let spaced = text.replace(steers, " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    words.join(" ")
}

/// The end of `text` in one line.
pub(super) fn one_line(text: &str) -> String {
    let line = flattened(text);
    match line.char_indices().rev().nth(LONGEST - 1) {
        Some((start, _)) if start > 0 => format!("…{}", &line[start..]),
        _ => line,
    }
}

/// A path as an error shows it.
pub(super) fn path(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// `text` without the secret, and without any part of it that is long enough to matter.
///
/// A child that prints it may be cut off in its middle, break its line there or colour it.
pub(super) fn redacted(text: &str, secret: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let secret: Vec<char> = secret.chars().collect();
    let piece = secret.len().min(PIECE);
    if piece == 0 {
        return text.into_iter().collect();
    }
    let mut covered = vec![false; text.len()];
    for (at, window) in text.windows(piece).enumerate() {
        if secret.windows(piece).any(|part| part == window) {
            covered[at..at + piece].fill(true);
        }
    }
    let mut result = String::with_capacity(text.len());
    let mut inside = false;
    for (c, covered) in text.into_iter().zip(covered) {
        match (covered, inside) {
            (false, _) => result.push(c),
            (true, false) => result.push_str("[secret]"),
            (true, true) => {}
        }
        inside = covered;
    }
    result
}

/// In characters: fewer of a secret in a text are chance, or no help to anyone.
const PIECE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_a_secret_is_cut_out_of_a_text_whole_and_in_pieces() {
        let secret = "abc8Q~0123456789";
        assert_eq!(redacted("got abc8Q~0123456789!", secret), "got [secret]!");
        assert_eq!(redacted("…456789 abc8Q~01", secret), "…[secret] [secret]");
        assert_eq!(redacted("xyz xyz", "xyz"), "[secret] [secret]");
        assert_eq!(redacted("nothing", secret), "nothing");
        assert_eq!(redacted("nothing", ""), "nothing");
    }

    #[test]
    fn p6_a_foreign_text_can_neither_flood_nor_steer_a_terminal() {
        assert_eq!(one_line("a\x1b[31mb\r\n\n\tc\u{202e}"), "a [31mb c");
        assert_eq!(one_line(&"ä".repeat(5000)).chars().count(), LONGEST + 1);
        assert_eq!(path(Path::new("/a\nb")), "/a\u{fffd}b");
    }
}
