//! One field of a connection at a time, from text: the same for flags, settings and `apply` files.

use std::ops::RangeInclusive;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::{NotAName, Overlap, is_name};
use crate::clock::{Span, whole_seconds};
use crate::text::harmless_chars;
use crate::wording::{nearest_few, quoted};

/// What `interval_days` may be.
pub const INTERVAL_DAYS: RangeInclusive<u32> = 1..=3650;

/// What `lifetime_days` may be; Entra itself sets no limit.
pub const LIFETIME_DAYS: RangeInclusive<u32> = 1..=7300;

/// A spread over more than a day would move a rotation to another date.
pub const LONGEST_JITTER: Span = Span::hours(24);

/// The longest value of a label, in characters.
const LONGEST_LABEL: usize = 256;

/// A name of a `what`, such as `destination`: by the rule of connection names.
pub fn name(what: &'static str, text: &str) -> Result<String, NotAName> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(NotAName { what })
    }
}

/// A zone of the IANA database, as it spells them (F5).
pub fn timezone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        let names = TZ_VARIANTS.iter().map(|zone| zone.name());
        let near: Vec<String> = nearest_few(text, names, 3)
            .into_iter()
            .map(quoted)
            .collect();
        let hint = match near.as_slice() {
            [] => "write one such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
            [one] => format!("did you mean {one}?"),
            [first @ .., last] => format!("did you mean {} or {last}?", first.join(", ")),
        };
        format!("{} is not a time zone; {hint}", quoted(text))
    })
}

/// A length of time.
pub fn span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|fault| clean(&fault))
}

/// A length of time that is not none.
pub fn some_time(text: &str) -> Result<Span, String> {
    match span(text)? {
        Span(std::time::Duration::ZERO) => Err(format!("{} is no time at all", quoted(text))),
        some => Ok(some),
    }
}

/// A spread of at most [`LONGEST_JITTER`].
pub fn jitter(text: &str) -> Result<Span, String> {
    let jitter = span(text)?;
    if jitter > LONGEST_JITTER {
        return Err(format!("a jitter of {jitter} is too long: use at most 24h"));
    }
    Ok(jitter)
}

/// See [`Overlap`].
pub fn overlap(text: &str) -> Result<Overlap, String> {
    text.parse::<Overlap>()
        .map_err(|fault| format!("{}, or next-rotation", clean(&fault)))
}

/// A date, `YYYY-MM-DD`.
pub fn date(text: &str) -> Result<NaiveDate, String> {
    text.parse()
        .map_err(|_| format!("{} is not a date: write YYYY-MM-DD", quoted(text)))
}

/// An instant of RFC 3339, in whole seconds.
pub fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| whole_seconds(at.with_timezone(&Utc)))
        .map_err(|_| {
            format!(
                "{} is not an instant: write it with its offset, such as 2026-05-04T10:00:00Z",
                quoted(text)
            )
        })
}

/// `key=value`
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{} is not a label: write key=value", quoted(text)))?;
    Ok((label_key(key)?, label_value(value)?))
}

/// The key of a label: by the rule of connection names, and slashes.
pub fn label_key(text: &str) -> Result<String, String> {
    if is_name(&text.replace('/', "-")) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not a key for a label: use 1 to 64 letters, digits, dots, hyphens, underscores \
             and slashes, the first a letter or digit",
            quoted(text)
        ))
    }
}

/// The value of a label: one line.
pub fn label_value(text: &str) -> Result<String, String> {
    if text.chars().count() <= LONGEST_LABEL && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "the value of a label is one line of at most {LONGEST_LABEL} characters"
        ))
    }
}

/// A file's mode in octal; nobody but owner and group may write a file that holds a secret.
pub fn mode(text: &str) -> Result<u32, String> {
    let digits = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o777)
        .ok_or_else(|| {
            format!(
                "{} is not a mode: write it in octal, such as \"0640\"",
                quoted(text)
            )
        })?;
    if mode & 0o400 == 0 {
        return Err(format!("with mode {text} its owner can't read the file"));
    }
    if mode & 0o002 != 0 {
        return Err(format!("with mode {text} anybody can write the file"));
    }
    Ok(mode)
}

/// The name of a variable of an environment or of a `dotenv` file.
pub fn variable(text: &str) -> Result<String, String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit());
    if begins_well && text.len() <= 256 && text.chars().all(letters) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is not a variable: use letters, digits and underscores, the first no digit",
            quoted(text)
        ))
    }
}

fn clean(fault: &impl ToString) -> String {
    harmless_chars(&fault.to_string()).map(|(_, c)| c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f5_an_unknown_zone_is_refused_with_the_nearest_names() {
        assert_eq!(timezone("Europe/Berlin"), Ok(Tz::Europe__Berlin));
        for (wrong, expected) in [
            ("Europe/Berln", "\"Europe/Berlin\""),
            ("berlin", "\"Europe/Berlin\""),
            ("europe/berlin", "\"Europe/Berlin\""),
            ("America/NewYork", "\"America/New_York\""),
        ] {
            let message = timezone(wrong).unwrap_err();
            assert!(
                message.contains(&format!("did you mean {expected}")),
                "{message}"
            );
        }
        assert_eq!(
            timezone("the moon").unwrap_err(),
            "\"the moon\" is not a time zone; write one such as \"Europe/Berlin\" or \"UTC\""
        );
    }

    #[test]
    fn modes_are_octal_and_keep_strangers_out() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("600"), Ok(0o600));
        for wrong in [
            "",
            "0x1f",
            "0648",
            "4755",
            "+640",
            "0666",
            "0040",
            "rw-r-----",
        ] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_label_is_a_key_and_one_line() {
        assert_eq!(label("team/a=b=c"), Ok(("team/a".into(), "b=c".into())));
        assert_eq!(label("empty="), Ok(("empty".into(), String::new())));
        for wrong in ["x", "=x", "a b=c", "a=b\nc", "-a=b"] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn p6_a_secret_pasted_for_a_duration_is_not_repeated() {
        for message in [
            span("abc8Q~0123456789012345678901234567890").unwrap_err(),
            overlap("abc8Q~0123456789012345678901234567890").unwrap_err(),
            instant("abc8Q~0123456789012345678901234567890").unwrap_err(),
        ] {
            assert!(!message.contains("8Q~"), "{message}");
        }
        assert!(jitter("25h").is_err());
        assert!(some_time("0s").is_err());
    }
}
