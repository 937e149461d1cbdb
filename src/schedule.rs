//! When the next rotation is due (pure).

use serde::{Deserialize, Serialize};

/// A set of weekdays, written as `["mon-thu", "sat"]`; all seven where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Weekdays(
    /// Bit 0 is Monday, bit 6 Sunday; never empty.
    u8,
);

impl Default for Weekdays {
    fn default() -> Self {
        Self(0b111_1111)
    }
}

impl TryFrom<Vec<String>> for Weekdays {
    type Error = String;
    fn try_from(_ranges: Vec<String>) -> Result<Self, String> {
        Err("not read yet".into())
    }
}

impl From<Weekdays> for Vec<String> {
    fn from(_days: Weekdays) -> Self {
        Vec::new()
    }
}

/// Hours of the day, written as `"09:00-16:00"`: the start is included, the end is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// From this local time.
    pub from: chrono::NaiveTime,
    /// To just before this local time; smaller than `from`: over midnight.
    pub until: chrono::NaiveTime,
}

impl TryFrom<String> for Hours {
    type Error = String;
    fn try_from(_text: String) -> Result<Self, String> {
        Err("not read yet".into())
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        format!(
            "{}-{}",
            hours.from.format("%H:%M"),
            hours.until.format("%H:%M")
        )
    }
}
