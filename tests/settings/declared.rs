//! `apply` files, the policies that come of them, and `connection export`.

use keywheel::settings::PolicyFault;
use keywheel::settings::declare::export;

use super::{CLIENT, House, TENANT, connection};

/// Each line: what a connection says from its fifth line on, and the one fault that it has.
const BAD_CONNECTIONS: [(&str, &str); 21] = [
    (
        "labels = { \"a b\" = \"c\" }",
        "5:12: \"a b\" is not a key for a label: use 1 to 64 letters, digits, dots, hyphens, underscores and slashes, the first a letter or digit",
    ),
    (
        "identity = \"rotator\"",
        "5:12: there is no identity \"rotator\"; known: self",
    ),
    (
        "cloud = \"usgvo\"",
        "5:9: there is no cloud \"usgvo\"; did you mean \"usgov\"?",
    ),
    (
        "interval_days = 60\nlifetime_days = 60",
        "6:17: a lifetime of 60 days is too short for an interval of 60 days and an overlap of 7d; set lifetime_days to 70 or more",
    ),
    (
        "interval_days = 7\noverlap = \"8d\"",
        "6:11: an overlap of 8d is longer than the interval of 7 days; shorten it, or write next-rotation",
    ),
    (
        "interval_days = 200\noverlap = \"100d\"",
        "6:11: a lifetime of 290 days is too short for an interval of 200 days and an overlap of 100d; set lifetime_days to 303 or more",
    ),
    (
        "key_id = \"abc8Q~0123456789012345678901234567890\"",
        "5:10: \"abc…\" is not a Key ID: 32 hexadecimal digits in groups of 8-4-4-4-12 are expected",
    ),
    (
        "next_rotation_at = \"tomorrow\"",
        "5:20: \"tomorrow\" is not an instant: write it with its offset, such as 2026-05-04T10:00:00Z",
    ),
    (
        "next_rotation_at = 2026-05-04T10:00:00",
        "5:20: \"2026-05-04T10:00:00\" is not an instant: write it with its offset, such as 2026-05-04T10:00:00Z",
    ),
    (
        "next_rotation_at = 2026-05-04T10:00:00Z\nrotate_now = true",
        "6:14: rotate_now and next_rotation_at exclude each other",
    ),
    (
        "pull = \"yes\"",
        "5:8: true or false is expected here, not a text",
    ),
    (
        "[[connection.destinations]]",
        "5:14: there is no key \"destinations\" here; did you mean \"destination\"?",
    ),
    (
        "[[connection.destination]]\npath = \"a\"",
        "5:1: `kind` is missing here",
    ),
    (
        "[[connection.destination]]\nkind = \"files\"\npath = \"a\"",
        "6:8: \"files\" is not a kind of destination that is there yet; did you mean \"file\"?",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"",
        "5:1: `path` is missing here",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"\npath = \"a\"\nformat = \"dotenv\"",
        "8:10: this format needs a key",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"\npath = \"a\"\nkey = \"A\"",
        "8:7: this format has no key",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"\npath = \"a\"\nmode = \"0666\"",
        "8:8: with mode 0666 anybody can write the file",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"\npath = \"a\"\nreload = []",
        "8:10: a program is expected first, then its arguments",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"\npath = \"a\"\nreload_timeout = \"5s\"",
        "8:18: there is no reload command for this",
    ),
    (
        "[[connection.destination]]\nkind = \"file\"\npath = \"a\"\n[[connection.destination]]\nkind = \"file\"\npath = \"./a\"\nname = \"two\"",
        "10:8: connection crm already delivers to this place",
    ),
];

#[test]
fn each_bad_connection_has_one_fault_with_place_and_remedy() {
    let house = House::new();
    for (text, expected) in BAD_CONNECTIONS {
        let found = house.faults(house.apply(&connection(text)));
        assert_eq!(found, [expected], "{text}");
    }
}

#[test]
fn c7_names_applications_and_places_are_there_once() {
    let house = House::new();
    let place =
        "[[connection.destination]]\nkind = \"file\"\npath = \"x.env\"\nformat = \"dotenv\"\n";
    let one = connection(&format!("{place}key = \"A\"\n"));
    let found = house.faults(house.apply(&format!("{one}{one}")));
    let expected = [
        "11:8: a connection crm is already above",
        "13:13: connection crm is already for this application",
        "16:8: connection crm already delivers to this place",
    ];
    assert_eq!(found, expected);
    let other = one
        .replace("crm", "erp")
        .replace(CLIENT, TENANT)
        .replace("key = \"A\"", "key = \"B\"");
    assert_eq!(
        house
            .apply(&format!("{one}{other}"))
            .unwrap()
            .connections
            .len(),
        2
    );
}

#[test]
fn f10_the_policy_is_checked_against_the_settings() {
    let house = House::new();
    house.write("rotator.secret", "", 0o600);
    let settings = house
        .settings(&format!(
            "[[identity]]\nname = \"rotator\"\nkind = \"client-secret\"\ntenant_id = \"{TENANT}\"\n\
             client_id = \"{CLIENT}\"\nsecret_file = \"rotator.secret\"\ncloud = \"china\"\n"
        ))
        .unwrap();
    let mut declared = house.declared("");
    declared.identity = Some("rotator".into());
    declared.interval_days = Some(0);
    let wrong = settings.policy(&declared).unwrap_err();
    assert!(
        matches!(
            wrong.faults.as_slice(),
            [
                PolicyFault::OtherCloud { .. },
                PolicyFault::OutOfBounds { .. },
                PolicyFault::IdentityLeftOut { .. }
            ]
        ),
        "{wrong}"
    );
    // It delivers to what the identity reads, in its cloud.
    let mut served =
        house.declared("[[connection.destination]]\nkind = \"file\"\npath = \"rotator.secret\"\n");
    served.cloud = Some("china".into());
    assert!(settings.policy(&served).is_ok());
}

#[test]
fn what_is_exported_reads_back_the_same() {
    let house = House::new();
    let full = house.declared(
        r#"
cloud = "china"
identity = "self"
interval_days = 45
rotate_at = "02:30"
timezone = "Australia/Lord_Howe"
lifetime_days = 100
overlap = "36h"
renew_before = "10d"
jitter = "15m"
only = ["fri-mon", "wed"]
hours = "22:00-02:00"
on_limit = "revoke-previous"
pull = true
labels = { team = "a \"b\" = c", "x/y" = "" }
blackouts = [{ from = 2026-12-20, until = 2027-01-06 }]

[[connection.destination]]
kind = "file"
name = "one"
path = "a b.txt"
mode = "0640"
owner = "root"
group = "1000"
required = false
reload = ["systemctl", "reload", "it's $HOME \\ \"x\""]
reload_timeout = "90s"
reload_env = { LANG = "C.UTF-8" }

[[connection.destination]]
kind = "file"
name = "two"
path = "b.json"
format = "json"
key = "/azure/secret"

[[connection.destination]]
kind = "file"
name = "three"
path = "c.ini"
format = "template"
template = """
[azure]
secret = {{ secret }}\t'''"\\
"""
"#,
    );
    let mut plain = house.declared("overlap = \"next-rotation\"");
    plain.name = "plain".parse().unwrap();
    plain.client_id = TENANT.parse().unwrap();
    let declared = [full, plain];
    let text = export(&declared).unwrap();
    let read = house
        .apply(&text)
        .unwrap_or_else(|faults| panic!("{faults}\n{text}"));
    let read: Vec<_> = read
        .connections
        .into_iter()
        .map(|one| one.declared)
        .collect();
    assert_eq!(read, declared, "{text}");
    assert_eq!(export(&[]).unwrap(), "");
}
