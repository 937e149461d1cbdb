//! From a local date and time to an instant.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{GapInfo, OffsetComponents, Tz};

/// The instant, in whole seconds, at which it is `time` on `date` in `timezone`.
///
/// A local time that does not exist lies at the same distance after the gap, 02:30 becomes 03:30
/// (RFC 5545, section 3.3.5, and `java.time`); one that comes twice is the first. Both hold for
/// days that a zone skipped and for zones that change at midnight.
pub fn resolve(date: NaiveDate, time: NaiveTime, timezone: Tz) -> DateTime<Utc> {
    // A leap second is written as a 61st second of nanoseconds.
    let local = date.and_time(time.with_nanosecond(0).unwrap_or(time));
    match timezone.from_local_datetime(&local).earliest() {
        Some(at) => at.with_timezone(&Utc),
        // The offset before the gap puts it as far behind the gap's end as it is behind its start.
        None => local
            .checked_sub_signed(offset_before_gap(local, timezone))
            .unwrap_or(local)
            .and_utc(),
    }
}

fn offset_before_gap(local: chrono::NaiveDateTime, timezone: Tz) -> TimeDelta {
    GapInfo::new(&local, &timezone)
        .and_then(|gap| gap.begin)
        .map_or(TimeDelta::zero(), |(_, offset)| {
            offset.base_utc_offset() + offset.dst_offset()
        })
}
