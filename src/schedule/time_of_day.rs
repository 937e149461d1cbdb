//! `HH:MM`, the form of `rotate_at` in settings, flags and output.

use chrono::NaiveTime;

use crate::wording::quoted;

/// The form.
pub const FORMAT: &str = "%H:%M";

/// Reads `HH:MM`, both with two digits.
pub fn parse(text: &str) -> Result<NaiveTime, String> {
    // chrono also reads one digit, and blanks before it.
    let well_formed = text.len() == 5 && !text.contains(char::is_whitespace);
    NaiveTime::parse_from_str(text, FORMAT)
        .ok()
        .filter(|_| well_formed)
        .ok_or_else(|| {
            format!(
                "{} is not a time of day: write HH:MM from 00:00 to 23:59",
                quoted(text)
            )
        })
}

/// For serde.
pub mod option {
    use chrono::NaiveTime;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes `HH:MM`.
    pub fn serialize<S: Serializer>(
        time: &Option<NaiveTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&time.format(super::FORMAT)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads `HH:MM`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<NaiveTime>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| super::parse(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}
