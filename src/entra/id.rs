//! The identifiers of Entra, each a type of its own, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {what}: 32 hexadecimal digits in groups of 8-4-4-4-12 are expected")]
pub struct NotAGuid {
    /// What was expected: `tenant ID`, `Key ID`, …
    pub what: &'static str,
    /// What was given, shortened and without control characters.
    pub text: String,
}

fn parse(what: &'static str, text: &str) -> Result<Uuid, NotAGuid> {
    // Uuid also reads braces, URNs and bare digits; Entra's tools print one form only, and
    // a value without hyphens is more often a secret than an identifier.
    let hyphenated = text.len() == 36;
    match Uuid::try_parse(text) {
        Ok(uuid) if hyphenated => Ok(uuid),
        _ => Err(NotAGuid {
            what,
            text: shown(text),
        }),
    }
}

/// A secret pasted into the wrong field must not reach a terminal or a log whole (P6).
fn shown(text: &str) -> String {
    let start: String = text.chars().filter(|c| !c.is_control()).take(3).collect();
    if text.chars().count() > 3 {
        format!("{start}…")
    } else {
        start
    }
}

macro_rules! guid {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub Uuid);

        impl FromStr for $name {
            type Err = NotAGuid;
            fn from_str(text: &str) -> Result<Self, NotAGuid> {
                parse($what, text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotAGuid;
            fn try_from(text: String) -> Result<Self, NotAGuid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

guid!(
    /// The directory (tenant) ID.
    TenantId, "tenant ID"
);
guid!(
    /// The application (client) ID: what a consumer signs in with, `appId` in Graph.
    ClientId, "client ID"
);
guid!(
    /// The object ID of the application object, `id` in Graph; not the client ID.
    ObjectId, "object ID"
);
guid!(
    /// The ID of one password credential, `keyId` in Graph. It is no secret.
    KeyId, "Key ID"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_read_in_one_form_only() {
        let text = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        assert_eq!(text.parse::<KeyId>().unwrap().to_string(), text);
        assert_eq!(
            text.to_uppercase().parse::<KeyId>().unwrap().to_string(),
            text
        );
        for wrong in [
            "",
            "6f9619ff8b86d011b42d00cf4fc964ff",
            "{6f9619ff-8b86-d011-b42d-00cf4fc964ff}",
        ] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn p6_a_secret_pasted_as_key_id_is_not_repeated() {
        let error = "abc8Q~0123456789012345678901234567890"
            .parse::<KeyId>()
            .unwrap_err();
        assert!(!error.to_string().contains("abc8Q~0123456789"), "{error}");
    }
}
