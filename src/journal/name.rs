//! How stores, connections, rotations and attempts are named.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// One store: made by `init`, kept in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceId(pub Ulid);

/// One rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RotationId(pub Ulid);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RotationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of one `addPassword` call, and the display name of the secret that it makes:
/// `keywheel/<instance>/<attempt>`. By it a secret is found whose answer was lost (P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptName {
    /// Who made it.
    pub instance: InstanceId,
    /// Which call it was.
    pub attempt: Ulid,
}

/// A display name that Keywheel did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a display name of Keywheel's")]
pub struct NotOurs;

impl FromStr for AttemptName {
    type Err = NotOurs;
    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let mut parts = text.split('/');
        let (Some("keywheel"), Some(instance), Some(attempt), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotOurs);
        };
        let ulid = |text: &str| Ulid::from_string(text).map_err(|_| NotOurs);
        Ok(Self {
            instance: InstanceId(ulid(instance)?),
            attempt: ulid(attempt)?,
        })
    }
}

impl fmt::Display for AttemptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keywheel/{}/{}", self.instance, self.attempt)
    }
}

impl TryFrom<String> for AttemptName {
    type Error = NotOurs;
    fn try_from(text: String) -> Result<Self, NotOurs> {
        text.parse()
    }
}

impl From<AttemptName> for String {
    fn from(name: AttemptName) -> Self {
        name.to_string()
    }
}

/// A connection's row number in the store: never given to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConnectionId(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_name_is_read_back_and_nothing_else_is() {
        let name = AttemptName {
            instance: InstanceId(Ulid(7)),
            attempt: Ulid(9),
        };
        assert_eq!(name.to_string().parse::<AttemptName>().unwrap(), name);
        for foreign in ["", "keywheel", "keywheel/x/y", "rotator 2026-11"] {
            assert!(foreign.parse::<AttemptName>().is_err(), "{foreign}");
        }
        assert!(format!("{name}/more").parse::<AttemptName>().is_err());
    }
}
