//! Messages that servers answered: they repeat what they were sent, secrets included (P6).

use super::harmless;

/// As [`harmless`], with every word cut that may be a secret or a token: long, and no GUID.
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

#[cfg(test)]
mod tests {
    use super::*;

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
