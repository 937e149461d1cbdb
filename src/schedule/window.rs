//! When a scheduled rotation may start: weekdays, hours, and the dates on which it may not.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::{resolve, time_of_day};
use crate::wording::{did_you_mean, quoted};

/// When a scheduled rotation may start. An instant is judged by its own local date and time: with
/// hours over midnight, Friday's end on Saturday needs Saturday among the weekdays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// On these weekdays.
    pub only: Weekdays,
    /// In these hours; `None`: in all.
    pub hours: Option<Hours>,
    /// Not on these dates.
    pub blackouts: Vec<Blackout>,
}

impl Window {
    /// Whether a rotation may start at `at`.
    pub fn allows(&self, at: DateTime<Utc>, timezone: Tz) -> bool {
        let local = at.with_timezone(&timezone).naive_local();
        self.open_on(local.date()) && self.hours.is_none_or(|hours| hours.contains(local.time()))
    }

    /// The first opening at or after `from`; `None` where none comes.
    pub(super) fn opening(&self, from: DateTime<Utc>, timezone: Tz) -> Option<DateTime<Utc>> {
        if self.allows(from, timezone) {
            return Some(from);
        }
        let mut date = from.with_timezone(&timezone).date_naive();
        // Each blackout is jumped once; two weeks beside them hold every weekday, even where a day
        // is skipped or an opening falls into a spring gap.
        for _ in 0..14 * (self.blackouts.len() + 1) {
            if let Some(blackout) = self.blackout_on(date) {
                date = blackout.until.succ_opt()?;
                continue;
            }
            let opens = self
                .starts(date, timezone)
                .find(|at| *at >= from && self.allows(*at, timezone));
            if opens.is_some() {
                return opens;
            }
            date = date.succ_opt()?;
        }
        None
    }

    /// Where the opening that `from` lies in ends, at the latest `limit`.
    pub(super) fn closing(
        &self,
        from: DateTime<Utc>,
        limit: DateTime<Utc>,
        timezone: Tz,
    ) -> DateTime<Utc> {
        if *self == Self::default() || limit <= from {
            return limit;
        }
        from.with_timezone(&timezone)
            .date_naive()
            .iter_days()
            .map(|date| self.ends(date, timezone))
            .take_while(|[midnight, _]| *midnight < limit)
            .flatten()
            .find(|at| (from..limit).contains(at) && !self.allows(*at, timezone))
            .unwrap_or(limit)
    }

    fn open_on(&self, date: NaiveDate) -> bool {
        self.only.contains(date.weekday()) && self.blackout_on(date).is_none()
    }

    fn blackout_on(&self, date: NaiveDate) -> Option<&Blackout> {
        self.blackouts
            .iter()
            .find(|blackout| (blackout.from..=blackout.until).contains(&date))
    }

    fn starts(&self, date: NaiveDate, timezone: Tz) -> impl Iterator<Item = DateTime<Utc>> {
        let hours = self.hours.map(|hours| hours.from);
        std::iter::once(NaiveTime::MIN)
            .chain(hours)
            .map(move |time| resolve(date, time, timezone))
    }

    fn ends(&self, date: NaiveDate, timezone: Tz) -> [DateTime<Utc>; 2] {
        let hours_end = self.hours.map_or(NaiveTime::MIN, |hours| hours.until);
        [NaiveTime::MIN, hours_end].map(|time| resolve(date, time, timezone))
    }
}

/// A set of weekdays, written as `["mon-thu", "sat"]`; all seven where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Weekdays(
    /// Bit 0 is Monday, bit 6 Sunday; never empty.
    u8,
);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Weekdays {
    /// Whether `day` is one of them.
    pub fn contains(self, day: Weekday) -> bool {
        self.has(day.num_days_from_monday() as usize)
    }

    fn has(self, day: usize) -> bool {
        self.0 & (1 << day) != 0
    }
}

impl Default for Weekdays {
    fn default() -> Self {
        Self(0b111_1111)
    }
}

impl TryFrom<Vec<String>> for Weekdays {
    type Error = String;

    /// Reads days and ranges; a range may run over Sunday, such as `fri-mon`.
    fn try_from(ranges: Vec<String>) -> Result<Self, String> {
        let mut days = 0;
        for range in &ranges {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (day(first)?, day(last)?);
            let length = (last + 7 - first) % 7;
            days |= (0..=length).fold(0, |days, n| days | 1 << ((first + n) % 7));
        }
        match days {
            0 => Err("no weekday is left: name at least one, such as [\"mon-thu\"]".into()),
            days => Ok(Self(days)),
        }
    }
}

fn day(text: &str) -> Result<usize, String> {
    let name = text.trim().to_lowercase();
    DAYS.iter().position(|day| *day == name).ok_or_else(|| {
        format!(
            "{} is not a weekday: write mon, tue, wed, thu, fri, sat or sun{}",
            quoted(text),
            did_you_mean(&name, DAYS)
        )
    })
}

impl From<Weekdays> for Vec<String> {
    fn from(days: Weekdays) -> Self {
        let mut ranges = Vec::new();
        let mut first = 0;
        while first < 7 {
            let length = (first..7).take_while(|day| days.has(*day)).count();
            match length {
                0 => {}
                1 => ranges.push(DAYS[first].to_owned()),
                _ => ranges.push(format!("{}-{}", DAYS[first], DAYS[first + length - 1])),
            }
            first += length + 1;
        }
        ranges
    }
}

/// Hours of the day, written as `"09:00-16:00"`: the start is included, the end is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    /// From this local time.
    pub from: NaiveTime,
    /// To just before this local time; smaller than `from`: over midnight.
    pub until: NaiveTime,
}

impl Hours {
    /// Whether `time` is in them.
    pub fn contains(self, time: NaiveTime) -> bool {
        if self.from <= self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (from, until) = text
            .split_once('-')
            .ok_or_else(|| format!("{} are not hours: write them as 09:00-16:00", quoted(&text)))?;
        let hours = Self {
            from: time_of_day::parse(from.trim())?,
            until: time_of_day::parse(until.trim())?,
        };
        if hours.from == hours.until {
            return Err(format!(
                "{} is no time at all: leave hours out to allow the whole day",
                quoted(&text)
            ));
        }
        Ok(hours)
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        format!(
            "{}-{}",
            hours.from.format(time_of_day::FORMAT),
            hours.until.format(time_of_day::FORMAT)
        )
    }
}

/// A range of dates, both included, in which no scheduled rotation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    /// The first day.
    pub from: NaiveDate,
    /// The last day.
    pub until: NaiveDate,
}
