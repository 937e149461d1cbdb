//! Any zone, any date from 1990 to 2037, any time.

use chrono::TimeZone;
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;

use crate::schedule::*;

fn zone() -> impl Strategy<Value = Tz> {
    (0..TZ_VARIANTS.len()).prop_map(|index| TZ_VARIANTS[index])
}

fn day() -> impl Strategy<Value = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(1990, 1, 1).unwrap();
    (0..48 * 365_u64).prop_map(move |days| first + Days::new(days))
}

fn minute() -> impl Strategy<Value = NaiveTime> {
    (0..24 * 60_u32).prop_map(|n| NaiveTime::from_hms_opt(n / 60, n % 60, 0).unwrap())
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let window = (1..128_u8, proptest::option::of((minute(), minute())));
    let window = window.prop_map(|(bits, hours)| {
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let ranges: Vec<String> = (0..7)
            .filter(|day| bits & (1 << day) != 0)
            .map(|day| days[day].to_owned())
            .collect();
        Window {
            only: ranges.try_into().unwrap(),
            hours: hours
                .filter(|(from, until)| from != until)
                .map(|(from, until)| Hours { from, until }),
            blackouts: Vec::new(),
        }
    });
    let times = (1..400_u32, minute(), zone(), 0..90_u64, 0..1440_u64);
    (times, window).prop_map(
        |((interval_days, rotate_at, timezone, guard, jitter), window)| Rule {
            interval_days,
            rotate_at,
            timezone,
            renew_before: Span::days(guard),
            jitter: Span::minutes(jitter),
            window,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn f1_to_f4_any_local_time_resolves_to_itself_or_behind_its_gap(
        zone in zone(), day in day(), at in minute()
    ) {
        let resolved = resolve(day, at, zone);
        let (wanted, local) = (day.and_time(at), resolved.with_timezone(&zone).naive_local());
        match zone.from_local_datetime(&wanted) {
            chrono::LocalResult::None => {
                prop_assert!(local > wanted);
                // Its distance after the gap is what it was after the gap's start.
                let gap = local - wanted;
                let before = (resolved - gap).with_timezone(&zone).naive_local();
                prop_assert!(before < wanted && gap <= TimeDelta::hours(24));
            }
            _ => prop_assert_eq!(local, wanted),
        }
        prop_assert_eq!(resolved.timestamp_subsec_nanos(), 0);
    }

    #[test]
    fn p8_f6_a_due_time_is_later_stays_and_does_not_drift(
        rule in any_rule(), anchor in day(), late in 0..100_000_000_i64, restart in 0.0..1.0_f64
    ) {
        let now = resolve(anchor, rule.rotate_at, rule.timezone) + TimeDelta::seconds(late);
        let due = next_due(&rule, anchor, now);
        prop_assert!(due > now);
        // Asked again at any time before it is due, it is the same.
        let wait = (due - now).num_seconds() - 1;
        let again = now + TimeDelta::seconds((wait as f64 * restart) as i64);
        prop_assert_eq!(next_due(&rule, anchor, again), due);
        // Counted from the date that was due, the grid stays.
        let steps: Vec<_> = upcoming(&rule, anchor, now).take(3).collect();
        prop_assert!(steps.is_sorted_by(|a, b| a < b));
        for at in steps {
            let days = (at.with_timezone(&rule.timezone).date_naive() - anchor).num_days();
            let off_grid = days % i64::from(rule.interval_days);
            let in_gap = resolve(anchor + Days::new((days - off_grid) as u64), rule.rotate_at,
                rule.timezone) == at;
            prop_assert!(off_grid == 0 || in_gap, "{at}: {days} days");
        }
    }

    #[test]
    fn p8_no_window_or_jitter_leads_into_the_last_days_or_out_of_the_window(
        rule in any_rule(), wanted in day(), left in prop_oneof![0..10_000_i64, 0..600_000_i64], key in "[a-z]{1,8}"
    ) {
        let next = resolve(wanted, rule.rotate_at, rule.timezone);
        let life = Life { starts_at: None, expires_at: next + TimeDelta::minutes(left) };
        let due = due_at(&rule, next, Some(life), &key);
        let guard = life.expires_at - TimeDelta::from_std(rule.renew_before.0).unwrap();
        let line = life.expires_at - TimeDelta::days(3);
        let earliest = next.min(guard);
        prop_assert!(due >= earliest);
        prop_assert!(due == earliest || due <= line);
        let opens = rule.window.opening(earliest, rule.timezone);
        if opens.is_some_and(|opens| opens < line) {
            prop_assert!(rule.window.allows(due, rule.timezone), "{due}");
        }
        prop_assert_eq!(due, due_at(&rule, next, Some(life), &key));
    }

    #[test]
    fn p8_every_window_opens_again(rule in any_rule(), day in day()) {
        let from = resolve(day, rule.rotate_at, rule.timezone);
        let opens = rule.window.opening(from, rule.timezone);
        // A spring gap may swallow one week's opening.
        prop_assert!(opens.is_some_and(|at| at - from <= TimeDelta::days(16)), "{opens:?}");
    }
}
