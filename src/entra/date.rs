//! Dates as Entra writes them.

use chrono::{DateTime, NaiveDateTime, Utc};

/// A date in Graph's JSON: RFC 3339 with up to seven digits after the second.
///
/// Graph's own error bodies leave the zone out; it is UTC.
pub(super) fn graph(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc())
        })
        .ok()
}

/// A date in an HTTP header, such as `Wed, 21 Oct 2015 07:28:00 GMT`.
pub(super) fn http(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text)
        .map(|at| at.to_utc())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_with_and_without_fraction_and_zone() {
        for text in [
            "2021-09-09T19:50:29Z",
            "2021-09-09T19:50:29.3086381Z",
            "2021-09-09T19:50:29.3",
            "2021-09-09T19:50:29",
            "2021-09-09T21:50:29+02:00",
        ] {
            assert_eq!(graph(text).unwrap().timestamp(), 1_631_217_029, "{text}");
        }
        for odd in ["", "never", "2021-13-01T00:00:00Z", "0000-00-00T00:00:00Z"] {
            assert_eq!(graph(odd), None, "{odd}");
        }
    }
}
