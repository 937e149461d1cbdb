//! Phrases for people: lists, quotations, and the nearest valid word for a wrong one.

use std::fmt;

use crate::text::shown;

/// Nothing longer is a typing mistake, and comparing takes time by the square.
const LONGEST_TYPED: usize = 120;

/// `text` in quotes, as a message may repeat it: bounded, without control characters and without
/// anything that looks like a secret (P6).
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
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
    if text.len() > LONGEST_TYPED {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_nothing_far_fetched() {
        assert_eq!(nearest("pubilc", ["usgov", "public"]), Some("public"));
        assert_eq!(nearest("mars", ["usgov", "public"]), None);
        assert_eq!(listed(["a", "b", "c"]), "a, b and c");
    }
}
