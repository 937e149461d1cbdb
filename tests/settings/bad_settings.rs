//! Everything that can be wrong with `keywheel.toml`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keywheel::settings::Settings;
use keywheel::settings::declare::Manifest;
use proptest::prelude::*;

use super::{CLIENT, House, TENANT};

/// Each line: what is written, and the one fault that it has.
const BAD_SETTINGS: [(&str, &str); 49] = [
    (
        "[sotre]",
        "1:2: there is no key \"sotre\" here; did you mean \"store\"?",
    ),
    (
        "[store]\npth = 1",
        "2:1: there is no key \"pth\" here; did you mean \"path\"?",
    ),
    (
        "[store]\nx = 1",
        "2:1: there is no key \"x\" here; known: path",
    ),
    (
        "store = 1",
        "1:9: a table is expected here, not a whole number",
    ),
    (
        "store.path = 1",
        "1:14: a text in quotes is expected here, not a whole number",
    ),
    (
        "store.path = \"\"",
        "1:14: a path is expected here, not an empty text",
    ),
    (
        "identity = 3",
        "1:12: tables are expected here: write [[identity]]",
    ),
    (
        "[identity]",
        "1:1: tables are expected here: write [[identity]]",
    ),
    (
        "master_key = { file = \"a\", env = \"B\" }",
        "1:34: one source is enough; keep one of file and env",
    ),
    (
        "master_key.env = \"1 A\"",
        "1:18: \"1 A\" is not a variable: use letters, digits and underscores, the first no digit",
    ),
    (
        "defaults.timezone = \"Europe/Berln\"",
        "1:21: \"Europe/Berln\" is not a time zone; did you mean \"Europe/Berlin\", \"Europe/Dublin\" or \"Europe/Jersey\"?",
    ),
    (
        "defaults.interval_days = \"30\"",
        "1:26: a whole number without quotes is expected here, not a text",
    ),
    (
        "defaults.interval_days = 0",
        "1:26: a number from 1 to 3650 is expected here",
    ),
    (
        "defaults.interval_days = 3651",
        "1:26: a number from 1 to 3650 is expected here",
    ),
    (
        "defaults.interval_days = -99999999999",
        "1:26: a number from 1 to 3650 is expected here",
    ),
    (
        "defaults.rotate_at = \"9:00\"",
        "1:22: \"9:00\" is not a time of day: write HH:MM from 00:00 to 23:59",
    ),
    (
        "defaults.rotate_at = \"24:00\"",
        "1:22: \"24:00\" is not a time of day: write HH:MM from 00:00 to 23:59",
    ),
    (
        "defaults.overlap = \"soon\"",
        "1:20: \"soon\" is not a duration; write a number and a unit, such as 30s, 20m, 12h or 7d, or next-rotation",
    ),
    (
        "defaults.overlap = \"31d\"",
        "1:20: an overlap of 31d is longer than the interval of 30 days; shorten it, or write next-rotation",
    ),
    (
        "defaults.lifetime_days = 39",
        "1:26: a lifetime of 39 days is too short for an interval of 30 days and an overlap of 7d; set lifetime_days to 40 or more",
    ),
    (
        "defaults.jitter = \"25h\"",
        "1:19: a jitter of 25h is too long: use at most 24h",
    ),
    (
        "defaults.only = [\"mon-fry\"]",
        "1:17: \"fry\" is not a weekday: write mon, tue, wed, thu, fri, sat or sun; did you mean \"fri\"?",
    ),
    (
        "defaults.only = []",
        "1:17: no weekday is left: name at least one, such as [\"mon-thu\"]",
    ),
    (
        "defaults.only = \"mon\"",
        "1:17: a list of texts is expected here, not a text",
    ),
    (
        "defaults.hours = \"9-16\"",
        "1:18: \"9\" is not a time of day: write HH:MM from 00:00 to 23:59",
    ),
    (
        "defaults.blackouts = [{ from = \"2026-02-30\", until = \"2026-03-01\" }]",
        "1:32: \"2026-02-30\" is not a date: write YYYY-MM-DD",
    ),
    (
        "defaults.blackouts = [{ from = \"2026-03-02\", until = \"2026-03-01\" }]",
        "1:54: the last day is before the first one",
    ),
    (
        "defaults.on_limit = \"revoke\"",
        "1:21: \"revoke\" is no answer to a full application: write block or revoke-previous",
    ),
    (
        "defaults.identity = \"rotator\"",
        "1:21: there is no identity \"rotator\"; known: self",
    ),
    (
        "defaults.identity = \"slef\"",
        "1:21: there is no identity \"slef\"; did you mean \"self\"?",
    ),
    (
        "verification.successes = 0",
        "1:26: a number from 1 to 100 is expected here",
    ),
    (
        "verification.timeout = \"0s\"",
        "1:24: \"0s\" is no time at all",
    ),
    (
        "verification.spacing = \"10m\"",
        "1:24: 5 proofs 10m apart don't fit into one pass of 20m",
    ),
    (
        "verification.give_up = \"1m\"",
        "1:24: this ends before one pass of 20m is over",
    ),
    (
        "graph.request_timeout = \"99999999 years\"",
        "1:25: \"99999999 years\" is not a duration; write a number and a unit, such as 30s, 20m, 12h or 7d",
    ),
    (
        "[[cloud]]\nname = \"public\"\nlogin = \"https://a\"\ngraph = \"https://b\"",
        "2:8: the cloud public is built in; use another name",
    ),
    (
        "[[cloud]]\nname = \"a b\"\nlogin = \"https://a\"\ngraph = \"https://b\"",
        "2:8: that is not a name for a cloud: use 1 to 64 letters, digits, dots, hyphens and underscores, the first a letter or digit",
    ),
    (
        "[[cloud]]\nname = \"lab\"\ngraph = \"https://b\"",
        "1:1: `login` is missing here",
    ),
    (
        "[[cloud]]\nname = \"lab\"\nlogin = \"http://lab.test\"\ngraph = \"https://b\"",
        "3:9: \"http://lab.test\" is not encrypted; use https (plain http on loopback alone)",
    ),
    (
        "[[cloud]]\nname = \"lab\"\nlogin = \"https://a/v2\"\ngraph = \"https://b\"",
        "3:9: \"https://a/v2\" goes on behind the host; write only https://host or https://host:port",
    ),
    (
        "[[cloud]]\nname = \"lab\"\nlogin = \"https://u:p@a\"\ngraph = \"https://b\"",
        "3:9: an address holds no user and no password here",
    ),
    (
        "[[cloud]]\nname = \"lab\"\nlogin = \"ftp://a\"\ngraph = \"https://b\"",
        "3:9: \"ftp://a\" is not an https address",
    ),
    (
        "[[cloud]]\nname = \"lab\"\nlogin = \"lab\"\ngraph = \"https://b\"",
        "3:9: \"lab\" is not an address; write it as https://host or https://host:port",
    ),
    (
        "[[cloud]]\nname = \"lab\"\nlogin = \"https://a\"\ngraph = \"https://b\"\nca_file = \"ca.pem\"",
        "5:11: there is no file ca.pem",
    ),
    (
        "[[identity]]\nname = \"self\"\nkind = \"client-secret\"\ntenant_id = \"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"\nclient_id = \"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"\nsecret_file = \"keywheel.secret\"",
        "2:8: the identity self is built in; use another name",
    ),
    (
        "[[identity]]\nname = \"r\"\nkind = \"certificate\"\nwhatever = 1",
        "3:8: identities of the kind certificate are not there yet; use client-secret",
    ),
    (
        "[[identity]]\nname = \"r\"\nkind = \"clientsecret\"",
        "3:8: \"clientsecret\" is not a kind of identity; did you mean \"client-secret\"?",
    ),
    (
        "x = ",
        "1:5: string values must be quoted, expected literal string",
    ),
    (
        "store.path = \"a\"\nstore.path = \"b\"",
        "2:7: duplicate key",
    ),
];

#[test]
fn each_bad_setting_has_one_fault_with_place_and_remedy() {
    let house = House::new();
    house.write("keywheel.secret", "", 0o600);
    let mut surprises = Vec::new();
    for (text, expected) in BAD_SETTINGS {
        let found = house.faults(house.settings(text));
        if found != [expected] {
            surprises.push(format!("{text}\n  expected {expected}\n  found {found:#?}"));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_their_lines() {
    let house = House::new();
    house.write("open.secret", "", 0o644);
    let text = format!(
        r#"[defaults]
timezone = "Mars/Olympus"
rotate_a = "10:00"
identity = "second"

[[identity]]
name = "first"
kind = "client-secret"
tenant_id = "contoso"
client_id = "{CLIENT}"
secret_file = "open.secret"
cloud = "pubilc"

[[identity]]
name = "first"
kind = "client-secret"
tenant_id = "{TENANT}"
client_id = "{CLIENT}"
secret_file = "missing.secret"
"#
    );
    let found = house.faults(house.settings(&text));
    let expected = [
        "2:12: \"Mars/Olympus\" is not a time zone; write one such as \"Europe/Berlin\" or \"UTC\"",
        "3:1: there is no key \"rotate_a\" here; did you mean \"rotate_at\"?",
        "9:13: \"con…\" is not a tenant ID: 32 hexadecimal digits in groups of 8-4-4-4-12 are expected",
        "11:15: others can get at the secret in open.secret (mode 0644); run: chmod g-w,o-rwx open.secret",
        "12:9: there is no cloud \"pubilc\"; did you mean \"public\"?",
        "15:8: an identity first is already above",
        "19:15: there is no file missing.secret",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_file_that_others_can_read_or_write_is_refused() {
    let house = House::new();
    let load = |path: &Path| house.faults(Settings::load(path));
    for (mode, how) in [
        (0o644, "read"),
        (0o604, "read"),
        (0o641, "read"),
        (0o666, "write"),
        (0o620, "write"),
        (0o602, "write"),
    ] {
        let open = house.write("keywheel.toml", "", mode);
        assert_eq!(
            load(&open),
            [format!(
                "others can {how} it (mode {mode:04o}); run: chmod 640 keywheel.toml"
            )]
        );
    }
    for mode in [0o640, 0o600, 0o400, 0o440] {
        assert!(load(&house.write("keywheel.toml", "", mode)).is_empty());
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    // Only root can give a file away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let house = House::new();
    let file = house.write("keywheel.toml", "", 0o640);
    std::os::unix::fs::chown(&file, Some(4242), None).unwrap();
    assert_eq!(
        house.faults(Settings::load(&file)),
        ["it belongs to user 4242; run: chown 0 keywheel.toml"]
    );
}

#[test]
fn what_apply_reads_may_be_read_by_others_but_not_written() {
    let house = House::new();
    let settings = house.settings("").unwrap();
    let load = |mode| {
        let file = house.write("connections.toml", "", mode);
        house.faults(Manifest::load(&file, &settings))
    };
    assert!(load(0o644).is_empty());
    for mode in [0o666, 0o664, 0o602] {
        assert_eq!(
            load(mode),
            [format!(
                "others can write it (mode {mode:04o}); run: chmod go-w connections.toml"
            )]
        );
    }
}

#[test]
fn what_is_no_file_of_text_is_refused() {
    let house = House::new();
    let load = |path: &Path| house.faults(Settings::load(path));
    assert_eq!(
        load(&house.path("none.toml")),
        ["there is no such file; run `keywheel init` to make one, or name another with --config"]
    );
    assert_eq!(
        load(house.folder.path()),
        ["it is a folder; a file is expected"]
    );
    let path = house.path("latin.toml");
    fs::write(&path, b"# caf\xe9\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        load(&path),
        ["1:6: this is no UTF-8; save the file as UTF-8"]
    );
}

#[test]
fn p6_a_secret_in_the_wrong_place_is_not_repeated() {
    let house = House::new();
    let secret = "abc8Q~0123456789012345678901234567890";
    for text in [
        format!("client_secret = \"{secret}\""),
        format!("client_secret = {secret}"),
        format!("\"{secret}\" = 1"),
        format!("[{secret}]"),
        format!("[[identity]]\nname = \"{secret}\"\nkind = \"{secret}\""),
        format!("[[identity]]\nname = \"r\"\nkind = \"client-secret\"\nclient_id = \"{secret}\""),
        format!("defaults.timezone = \"{secret}\"\ndefaults.overlap = \"{secret}\""),
        format!("defaults.rotate_at = \"{secret}\"\ndefaults.only = [\"{secret}\"]"),
        format!("master_key.env = \"{secret}~\""),
    ] {
        let faults = house.settings(&text).unwrap_err().to_string();
        assert!(!faults.contains("8Q~01234"), "{text}: {faults}");
        assert!(!faults.contains("56789012"), "{text}: {faults}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_shown(
        text in r#"([\[\]{}="'.,#a\\\n\t é]|\[\[cloud\]\]|\[defaults\]|only|timezone = |[0-9]|""")*"#
    ) {
        let house = House::new();
        if let Err(faults) = house.settings(&text) {
            prop_assert!(faults.iter().count() > 0);
            prop_assert!(faults.to_string().contains("keywheel.toml:"));
        }
    }
}
