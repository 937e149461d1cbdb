use super::*;

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(minutes)
}

fn concern(kind: Kind, cause: &str) -> Concern {
    Concern {
        kind,
        cause: cause.into(),
        message: "m".into(),
        remedy: "r".into(),
        since: at(0),
        ends_at: None,
    }
}

/// `first:x`, `again:x` and `over:x,y` of what is told at one moment.
fn words(told: &Told) -> Vec<String> {
    let word = |saying: &Saying| match saying {
        Saying::First(concern) => format!("first:{}", concern.cause),
        Saying::Reminder { concern, .. } => format!("again:{}", concern.cause),
        Saying::Recovery(over) => {
            let causes: Vec<&str> = over.iter().map(|alert| alert.cause.as_str()).collect();
            format!("over:{}", causes.join(","))
        }
    };
    told.sayings.iter().map(word).collect()
}

/// What is told at each minute at which these concerns stand.
fn story(moments: &[(i64, &[Concern])]) -> Vec<(i64, String)> {
    let mut alerts = Vec::new();
    let mut story = Vec::new();
    for (minute, concerns) in moments {
        let told = tell(alerts, concerns, at(*minute));
        story.extend(words(&told).into_iter().map(|word| (*minute, word)));
        alerts = told.alerts;
    }
    story
}

#[test]
fn i7_the_first_failure_is_told_at_once_and_the_next_are_not() {
    let failing = [concern(Kind::Failing, "unreachable")];
    let told = story(&[(0, &failing), (1, &failing), (2, &failing), (50, &failing)]);
    assert_eq!(told, [(0, "first:unreachable".into())]);
}

#[test]
fn i7_recovery_is_told_once_it_is_calm() {
    let failing = [concern(Kind::Failing, "unreachable")];
    let told = story(&[(0, &failing), (1, &[]), (5, &[]), (6, &[]), (7, &[])]);
    assert_eq!(
        told,
        [
            (0, "first:unreachable".into()),
            (6, "over:unreachable".into())
        ]
    );
}

#[test]
fn a_night_of_hiccups_costs_two_messages() {
    let failing = [concern(Kind::Failing, "unreachable")];
    let night: Vec<(i64, &[Concern])> = (0..40)
        .map(|n| (n, if n % 2 == 0 { &failing[..] } else { &[] }))
        .chain([(44, &[][..]), (50, &[][..])])
        .collect();
    let told = story(&night);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1], (44, "over:unreachable".into()));
}

#[test]
fn causes_that_take_turns_are_told_once_each_and_are_over_together() {
    let (a, b) = ([concern(Kind::Failing, "a")], [concern(Kind::Failing, "b")]);
    let told = story(&[(0, &a), (1, &b), (9, &a), (18, &b), (20, &[]), (25, &[])]);
    assert_eq!(
        told,
        [
            (0, "first:a".into()),
            (1, "first:b".into()),
            (25, "over:a,b".into())
        ]
    );
}

#[test]
fn what_has_turned_into_blocked_is_one_new_message_and_no_recovery() {
    let (failing, blocked) = ([concern(Kind::Failing, "x")], [concern(Kind::Blocked, "x")]);
    let told = story(&[
        (0, &failing),
        (1, &blocked),
        (30, &blocked),
        (40, &[]),
        (45, &[]),
    ]);
    assert_eq!(
        told,
        [
            (0, "first:x".into()),
            (1, "first:x".into()),
            (45, "over:x,x".into())
        ]
    );
}

#[test]
fn reminders_come_after_1_6_and_24_hours_and_then_daily() {
    let blocked = [concern(Kind::Blocked, "x")];
    let mut alerts = Vec::new();
    let mut now = at(0);
    let mut hours = Vec::new();
    for _ in 0..6 {
        let told = tell(alerts, &blocked, now);
        assert_eq!(told.sayings.len(), 1);
        hours.push((now - at(0)).num_hours());
        now = told.look_at.unwrap();
        alerts = told.alerts;
    }
    assert_eq!(hours, [0, 1, 7, 31, 55, 79]);
}

#[test]
fn what_is_tried_again_by_itself_is_reminded_of_weekly_in_the_end() {
    let failing = [concern(Kind::Failing, "x")];
    let mut told = tell(Vec::new(), &failing, at(0));
    for _ in 0..3 {
        let now = told.look_at.unwrap();
        told = tell(told.alerts, &failing, now);
    }
    let now = told.look_at.unwrap();
    assert_eq!((now - at(0)).num_hours(), 31 + 7 * 24);
}

#[test]
fn several_that_stand_are_reminded_of_in_one_message() {
    let both = [
        concern(Kind::Blocked, "x"),
        concern(Kind::Expiring, "expiring"),
    ];
    let told = story(&[(0, &both), (60, &both), (61, &both)]);
    assert_eq!(told.last(), Some(&(60, "again:x".into())));
    assert_eq!(told.len(), 3);
}

#[test]
fn f11_a_clock_that_was_set_back_silences_nothing_for_long() {
    let failing = [concern(Kind::Failing, "x")];
    let year = 60 * 24 * 365;
    let told = tell(Vec::new(), &failing, at(year));
    let told = tell(told.alerts, &failing, at(0));
    assert_eq!(words(&told), ["again:x"]);
    let told = tell(told.alerts, &[], at(year));
    let told = tell(told.alerts, &[], at(0));
    assert_eq!(told.look_at, Some(at(0) + CALM));
}
