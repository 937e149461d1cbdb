mod properties;

use chrono::Timelike;
use chrono_tz::{Asia, Australia, Europe, Pacific};

use super::*;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn time(text: &str) -> NaiveTime {
    time_of_day::parse(text).unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn every(interval_days: u32, rotate_at: &str, timezone: Tz) -> Rule {
    Rule {
        interval_days,
        rotate_at: time(rotate_at),
        timezone,
        renew_before: Span::days(14),
        jitter: Span::default(),
        window: Window::default(),
    }
}

fn weekdays(ranges: &[&str]) -> Weekdays {
    let ranges: Vec<String> = ranges.iter().map(|&range| range.to_owned()).collect();
    ranges.try_into().unwrap()
}

fn hours(text: &str) -> Option<Hours> {
    Some(text.to_owned().try_into().unwrap())
}

fn life(starts_at: &str, expires_at: &str) -> Life {
    Life {
        starts_at: Some(utc(starts_at)),
        expires_at: utc(expires_at),
    }
}

/// Each line: zone, local date and time, instant.
fn assert_resolves(table: &[(Tz, &str, &str, &str)]) {
    for (zone, day, at, expected) in table {
        let resolved = resolve(date(day), time(at), *zone);
        assert_eq!(resolved, utc(expected), "{zone} {day} {at}");
    }
}

#[test]
fn f1_a_skipped_time_runs_at_the_same_distance_after_the_gap() {
    assert_resolves(&[
        (
            Europe::Berlin,
            "2026-03-29",
            "01:59",
            "2026-03-29T00:59:00Z",
        ),
        (
            Europe::Berlin,
            "2026-03-29",
            "02:00",
            "2026-03-29T01:00:00Z",
        ),
        (
            Europe::Berlin,
            "2026-03-29",
            "02:30",
            "2026-03-29T01:30:00Z",
        ),
        (
            Europe::Berlin,
            "2026-03-29",
            "03:30",
            "2026-03-29T01:30:00Z",
        ),
    ]);
}

#[test]
fn f2_a_repeated_time_runs_once_the_first_time() {
    let berlin = every(1, "02:30", Europe::Berlin);
    let due: Vec<_> = upcoming(&berlin, date("2026-10-24"), utc("2026-10-24T12:00:00Z"))
        .take(2)
        .collect();
    let expected = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"].map(utc);
    assert_eq!(due, expected);
}

#[test]
fn f3_the_wall_clock_time_is_kept_across_both_changes() {
    let berlin = every(30, "10:00", Europe::Berlin);
    let year = upcoming(&berlin, date("2026-01-01"), utc("2026-01-01T12:00:00Z")).take(12);
    for due in year {
        let local = due.with_timezone(&Europe::Berlin);
        assert_eq!((local.hour(), local.minute()), (10, 0), "{local}");
    }
}

#[test]
fn f4_zones_that_change_at_midnight() {
    assert_resolves(&[
        // The day begins at 01:00.
        (
            chrono_tz::America::Havana,
            "2026-03-08",
            "00:00",
            "2026-03-08T05:00:00Z",
        ),
        (
            chrono_tz::America::Havana,
            "2026-03-08",
            "00:30",
            "2026-03-08T05:30:00Z",
        ),
        (Asia::Beirut, "2026-03-29", "00:15", "2026-03-28T22:15:00Z"),
        // 00:30 comes twice.
        (
            chrono_tz::America::Havana,
            "2026-11-01",
            "00:30",
            "2026-11-01T04:30:00Z",
        ),
    ]);
}

#[test]
fn f4_zones_with_30_and_45_minutes() {
    assert_resolves(&[
        (Asia::Kolkata, "2026-06-01", "10:00", "2026-06-01T04:30:00Z"),
        (
            Asia::Kathmandu,
            "2026-06-01",
            "10:00",
            "2026-06-01T04:15:00Z",
        ),
        (
            Pacific::Chatham,
            "2026-06-01",
            "10:00",
            "2026-05-31T21:15:00Z",
        ),
        (
            Pacific::Chatham,
            "2026-09-27",
            "03:00",
            "2026-09-26T14:15:00Z",
        ),
    ]);
}

#[test]
fn f4_lord_howe_moves_by_half_an_hour() {
    assert_resolves(&[
        // 02:00 to 02:30 is skipped: 02:15 becomes 02:45.
        (
            Australia::Lord_Howe,
            "2026-10-04",
            "02:15",
            "2026-10-03T15:45:00Z",
        ),
        // 01:30 to 02:00 comes twice.
        (
            Australia::Lord_Howe,
            "2026-04-05",
            "01:45",
            "2026-04-04T14:45:00Z",
        ),
    ]);
}

#[test]
fn f4_a_day_that_apia_skipped_is_neither_lost_nor_doubled() {
    assert_resolves(&[
        (Pacific::Apia, "2011-12-29", "10:00", "2011-12-29T20:00:00Z"),
        (Pacific::Apia, "2011-12-30", "10:00", "2011-12-30T20:00:00Z"),
        (Pacific::Apia, "2011-12-31", "10:00", "2011-12-30T20:00:00Z"),
    ]);
    let daily = every(1, "10:00", Pacific::Apia);
    let due: Vec<_> = upcoming(&daily, date("2011-12-28"), utc("2011-12-29T12:00:00Z"))
        .take(3)
        .collect();
    let expected = [
        "2011-12-29T20:00:00Z",
        "2011-12-30T20:00:00Z",
        "2011-12-31T20:00:00Z",
    ];
    assert_eq!(due, expected.map(utc));
}

#[test]
fn f4_today_in_the_zone_may_be_yesterday_in_utc() {
    let rule = every(1, "20:00", Pacific::Honolulu);
    // It is 16:00 on 4 May there.
    let due = next_due(&rule, date("2026-05-01"), utc("2026-05-05T02:00:00Z"));
    assert_eq!(due, utc("2026-05-05T06:00:00Z"));
}

#[test]
fn f1_a_window_in_a_gap_opens_a_week_later_and_one_before_it_closes_in_time() {
    let mut rule = every(30, "10:00", Europe::Berlin);
    rule.window.only = weekdays(&["sun"]);
    rule.window.hours = hours("02:00-02:30");
    let due = due_at(&rule, utc("2026-03-23T10:00:00Z"), None, "crm");
    assert_eq!(due, utc("2026-04-05T00:00:00Z"));

    rule.window.hours = hours("01:00-02:30");
    rule.jitter = Span::hours(3);
    for n in 0..100 {
        let due = due_at(&rule, utc("2026-03-28T10:00:00Z"), None, &n.to_string());
        assert!(rule.window.allows(due, rule.timezone), "{due}");
    }
}

#[test]
fn f7_a_full_interval_follows_a_manual_rotation() {
    let rule = every(30, "10:00", Tz::UTC);
    let early_today = utc("2026-05-04T08:00:00Z");
    let due = next_due(&rule, early_today.date_naive(), early_today);
    assert_eq!(due, utc("2026-06-03T10:00:00Z"));
}

#[test]
fn f8_ninety_days_off_are_one_catch_up_and_no_drift() {
    let rule = every(30, "10:00", Europe::Berlin);
    // Due on 1 January, noticed on 1 April: the next one is on the grid of 1 January.
    let due = next_due(&rule, date("2026-01-01"), utc("2026-04-01T12:00:00Z"));
    assert_eq!(due, utc("2026-05-01T08:00:00Z"));
}

#[test]
fn f9_due_exactly_now_is_not_due_again() {
    let rule = every(30, "10:00", Tz::UTC);
    let now = utc("2026-01-31T10:00:00Z");
    let anchor = date("2026-01-01");
    assert_eq!(next_due(&rule, anchor, now - TimeDelta::seconds(1)), now);
    assert_eq!(next_due(&rule, anchor, now), utc("2026-03-02T10:00:00Z"));
}

#[test]
fn f10_an_edited_interval_counts_from_the_last_rotation() {
    let (anchor, now) = (date("2026-01-01"), utc("2026-01-20T00:00:00Z"));
    let due = |days| next_due(&every(days, "10:00", Tz::UTC), anchor, now);
    assert_eq!(due(30), utc("2026-01-31T10:00:00Z"));
    assert_eq!(due(15), utc("2026-01-31T10:00:00Z"));
    assert_eq!(due(7), utc("2026-01-22T10:00:00Z"));
    assert_eq!(due(90), utc("2026-04-01T10:00:00Z"));
}

#[test]
fn f10_a_lifetime_needs_room_for_interval_overlap_and_the_last_days() {
    assert!(fits(30, 40, Span::days(7)));
    assert!(!fits(30, 39, Span::days(7)));
    assert_eq!(least_lifetime_days(1, Span::hours(12)), 5);
    for interval in 1..=3650 {
        let lifetime = default_lifetime_days(interval);
        assert!(
            fits(interval, lifetime, default_overlap(interval)),
            "{interval}"
        );
    }
    assert_eq!(
        [1, 30, 90].map(default_lifetime_days),
        [9, 67, 180],
        "2 x interval + 7, and interval + 90"
    );
    assert_eq!(
        [1, 14, 30].map(default_overlap),
        [Span::hours(12), Span::days(7), Span::days(7)]
    );
}

#[test]
fn f13_leap_day_year_end_and_2038() {
    let yearly = every(365, "10:00", Tz::UTC);
    let due = next_due(&yearly, date("2028-02-29"), utc("2028-02-29T10:00:00Z"));
    assert_eq!(due, utc("2029-02-28T10:00:00Z"));
    let due = next_due(
        &every(1, "23:59", Europe::Berlin),
        date("2026-12-30"),
        utc("2026-12-31T22:00:00Z"),
    );
    assert_eq!(due, utc("2026-12-31T22:59:00Z"));
    assert_resolves(&[
        (
            Europe::Berlin,
            "2038-01-19",
            "04:14",
            "2038-01-19T03:14:00Z",
        ),
        (
            Europe::Berlin,
            "2045-07-01",
            "10:00",
            "2045-07-01T08:00:00Z",
        ),
    ]);
}

#[test]
fn p8_the_guard_comes_before_a_schedule_that_is_too_late() {
    let rule = every(90, "10:00", Tz::UTC);
    let scheduled = utc("2026-04-01T10:00:00Z");
    let due = |life| due_at(&rule, scheduled, Some(life), "crm");
    // Fourteen days before the end, and a third of a short life.
    let long = life("2025-12-01T00:00:00Z", "2026-04-01T00:00:00.7Z");
    assert_eq!(due(long), utc("2026-03-18T00:00:00Z"));
    let short = life("2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z");
    assert_eq!(due(short), utc("2026-01-21T00:00:00Z"));
    let ample = life("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    assert_eq!(due(ample), scheduled);
    assert_eq!(due_at(&rule, scheduled, None, "crm"), scheduled);
}

#[test]
fn p8_a_window_moves_a_rotation_to_its_time_of_day_in_the_next_opening() {
    let mut rule = every(30, "10:00", Europe::Berlin);
    rule.window.only = weekdays(&["mon-thu"]);
    rule.window.hours = hours("09:00-16:00");
    let due = |at| due_at(&rule, utc(at), None, "crm");
    // Thursday, Friday, Thursday too late, and too early: on to the next 10:00.
    assert_eq!(due("2026-05-07T08:00:00Z"), utc("2026-05-07T08:00:00Z"));
    assert_eq!(due("2026-05-08T08:00:00Z"), utc("2026-05-11T08:00:00Z"));
    assert_eq!(due("2026-05-07T14:00:00Z"), utc("2026-05-11T08:00:00Z"));
    assert_eq!(due("2026-05-07T03:00:00Z"), utc("2026-05-07T08:00:00Z"));

    rule.window.blackouts = vec![
        Blackout {
            from: date("2026-05-11"),
            until: date("2026-05-31"),
        },
        Blackout {
            from: date("2026-05-20"),
            until: date("2026-06-01"),
        },
    ];
    let due = |rule: &Rule| due_at(rule, utc("2026-05-08T08:00:00Z"), None, "crm");
    assert_eq!(due(&rule), utc("2026-06-02T08:00:00Z"));
    // Without hours the same, never just after midnight; out of the hours, at their start.
    rule.window.hours = None;
    assert_eq!(due(&rule), utc("2026-06-02T08:00:00Z"));
    rule.window.hours = hours("12:00-16:00");
    assert_eq!(due(&rule), utc("2026-06-02T10:00:00Z"));
}

#[test]
fn p8_a_time_of_day_too_near_the_end_gives_way_to_the_start_of_the_opening() {
    let mut rule = every(30, "22:00", Tz::UTC);
    rule.window.only = weekdays(&["mon-thu"]);
    rule.renew_before = Span::days(3);
    // Friday; the last three days begin on Monday at noon.
    let ends = life("2026-01-01T00:00:00Z", "2026-05-14T12:00:00Z");
    let due = due_at(&rule, utc("2026-05-08T22:00:00Z"), Some(ends), "crm");
    assert_eq!(due, utc("2026-05-11T00:00:00Z"));
}

#[test]
fn p8_hours_over_midnight_are_judged_by_the_day_of_the_instant() {
    let mut rule = every(30, "10:00", Tz::UTC);
    rule.window.only = weekdays(&["fri"]);
    rule.window.hours = hours("22:00-02:00");
    let due = |at| due_at(&rule, utc(at), None, "crm");
    assert_eq!(due("2026-05-07T23:00:00Z"), utc("2026-05-08T00:00:00Z"));
    assert_eq!(due("2026-05-08T03:00:00Z"), utc("2026-05-08T22:00:00Z"));
    assert_eq!(due("2026-05-09T01:00:00Z"), utc("2026-05-15T00:00:00Z"));
}

#[test]
fn p8_windows_and_jitter_yield_to_the_last_three_days() {
    let mut rule = every(30, "10:00", Tz::UTC);
    rule.jitter = Span::hours(12);
    rule.window.blackouts = vec![Blackout {
        from: date("2026-05-08"),
        until: date("2026-12-31"),
    }];
    let ends = life("2026-04-01T00:00:00Z", "2026-05-13T00:00:00Z");
    let wanted = utc("2026-05-09T20:00:00Z");
    for key in ["crm", "erp", "mail", "vpn"] {
        let due = due_at(&rule, wanted, Some(ends), key);
        // The guard is older than the blackout: it stays where it is, but for the jitter.
        assert_eq!(due.date_naive(), date("2026-04-29"), "{key}");
    }
    // Between the guard and the end: never past 10 May, 00:00.
    rule.renew_before = Span::hours(78);
    for key in ["crm", "erp", "mail", "vpn"] {
        let due = due_at(&rule, wanted, Some(ends), key);
        assert!(due >= utc("2026-05-09T18:00:00Z"), "{key} {due}");
        assert!(due < utc("2026-05-10T00:00:00Z"), "{key} {due}");
    }
    assert!(!urgent(utc("2026-05-09T23:59:59Z"), ends.expires_at));
    assert!(urgent(utc("2026-05-10T00:00:00Z"), ends.expires_at));
}

#[test]
fn f8_a_catch_up_waits_for_the_window_unless_the_end_is_near() {
    let mut rule = every(30, "10:00", Tz::UTC);
    rule.window.only = weekdays(&["mon-thu"]);
    let due = utc("2026-05-07T10:00:00Z");
    let start = |now, life| start_at(&rule, due, life, "crm", utc(now));
    assert_eq!(start("2026-05-01T00:00:00Z", None), due);
    let monday = utc("2026-05-11T10:00:00Z");
    assert_eq!(start("2026-05-09T12:00:00Z", None), monday);
    // Asked again in the opening, before its time of day: now, as it is late.
    assert_eq!(
        start("2026-05-11T01:00:00Z", None),
        utc("2026-05-11T01:00:00Z")
    );
    assert_eq!(
        start("2026-05-11T12:00:00Z", None),
        utc("2026-05-11T12:00:00Z")
    );
    let ends = life("2026-04-01T00:00:00Z", "2026-05-12T00:00:00Z");
    let now = "2026-05-09T12:00:00Z";
    assert_eq!(start(now, Some(ends)), utc(now));
}

#[test]
fn f12_jitter_is_stable_spread_and_stays_in_the_window() {
    let mut rule = every(30, "10:00", Europe::Berlin);
    rule.jitter = Span::hours(3);
    rule.window.hours = hours("09:00-11:00");
    let wanted = utc("2026-05-07T08:00:00Z");
    let due: Vec<_> = (0..1000)
        .map(|n| due_at(&rule, wanted, None, &format!("connection-{n}")))
        .collect();
    let closes = utc("2026-05-07T09:00:00Z");
    assert!(due.iter().all(|at| (wanted..closes).contains(at)));
    for tenth in 0..10 {
        let from = wanted + TimeDelta::minutes(6 * tenth);
        let inside = due
            .iter()
            .filter(|at| (from..from + TimeDelta::minutes(6)).contains(at))
            .count();
        assert!((60..=140).contains(&inside), "{tenth}: {inside} of 1000");
    }
    // A stored due time would move if this ever changed.
    assert_eq!(due[0], utc("2026-05-07T08:39:18Z"));
}

#[test]
fn weekdays_read_what_they_write() {
    for bits in 1..128_u8 {
        let ranges: Vec<String> = (0..7)
            .filter(|day| bits & (1 << day) != 0)
            .map(|day| ["mon", "tue", "wed", "thu", "fri", "sat", "sun"][day].to_owned())
            .collect();
        let days = Weekdays::try_from(ranges).unwrap();
        let written: Vec<String> = days.into();
        assert_eq!(Weekdays::try_from(written.clone()), Ok(days), "{written:?}");
    }
    let written: Vec<String> = weekdays(&["fri-mon", "wed"]).into();
    assert_eq!(written, ["mon", "wed", "fri-sun"]);
    assert_eq!(weekdays(&["mon-sun"]), Weekdays::default());
    assert_eq!(
        Weekdays::try_from(vec!["mon-thr".to_owned()]).unwrap_err(),
        "\"thr\" is not a weekday: write mon, tue, wed, thu, fri, sat or sun; \
         did you mean \"thu\"?"
    );
    assert!(Weekdays::try_from(Vec::new()).is_err());
}

#[test]
fn hours_are_read_strictly() {
    for wrong in ["", "9-16", "09:00", "09:00-09:00", "09:00-24:00", "a-b"] {
        assert!(Hours::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
    let text = "22:00-02:00";
    assert_eq!(String::from(hours(text).unwrap()), text);
}
