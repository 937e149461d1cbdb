use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn key() -> Variable {
    "KEY".parse().unwrap()
}

fn spliced(existing: &str, value: &str) -> String {
    let bytes = Some(existing.as_bytes());
    splice(bytes, &key(), value).unwrap().to_string()
}

fn refused(existing: &str) -> DotenvFault {
    splice(Some(existing.as_bytes()), &key(), "new").unwrap_err()
}

/// What `program`, a shell, has in `KEY` after it sourced `file`.
fn sourced(program: &str, file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("env");
    std::fs::write(&path, file).unwrap();
    let output = Command::new(program)
        .args(["-c", ". \"$1\" && printf %s \"$KEY\"", "sh"])
        .arg(&path)
        .env_clear()
        .env("HOME", "/home/someone")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn d3_the_other_lines_stay_byte_for_byte() {
    let before = "# it's a \"comment\nA=1\n\n  B = 'two\nlines' \nexport KEY=old\nC=\"x\\\"y\"";
    let after = spliced(before, "new");
    assert_eq!(after, before.replace("KEY=old", "KEY=new"));
}

#[test]
fn d3_the_own_line_keeps_export_comment_and_line_break() {
    assert_eq!(
        spliced("\texport  KEY = 'o # d'\r\nA=1\r\n", "n"),
        "\texport  KEY=n\r\nA=1\r\n"
    );
    assert_eq!(spliced("A=1\nKEY=old # why\n", "n"), "A=1\n# why\nKEY=n\n");
    assert_eq!(spliced("KEY= # paste here", "n"), "# paste here\nKEY=n");
    assert_eq!(spliced("KEY=put it here\n", "n"), "KEY=n\n");
    assert_eq!(spliced("\u{feff}KEY=old", "n"), "\u{feff}KEY=n");
}

#[test]
fn d3_a_missing_variable_is_added_at_the_end() {
    assert_eq!(spliced("", "n"), "KEY=n\n");
    assert_eq!(spliced("A=1", "n"), "A=1\nKEY=n\n");
    assert_eq!(spliced("A=1\r\n", "n"), "A=1\r\nKEY=n\r\n");
    assert_eq!(
        spliced("#KEY=old\nMY_KEY=1\nKEY2=\n", "n"),
        "#KEY=old\nMY_KEY=1\nKEY2=\nKEY=n\n"
    );
}

#[test]
fn c9_a_file_that_readers_take_differently_is_refused() {
    let inside = "A=\"one\nKEY=two\n\"\n";
    assert!(matches!(
        refused(inside),
        DotenvFault::Inside { line: 2, .. }
    ));
    let twice = refused("KEY=1\nexport KEY=2\n");
    assert_eq!(twice.to_string(), "KEY is set twice, in lines 1 and 2");
    assert!(matches!(
        refused("A=O'Brien\n"),
        DotenvFault::Open { line: 1 }
    ));
    assert!(matches!(
        refused("A=1\nKEY='a\nb'\n"),
        DotenvFault::Open { line: 2 }
    ));
    assert!(matches!(refused("A=1\\\n"), DotenvFault::Open { line: 1 }));
    assert!(matches!(
        refused("# C:\\\nKEY=1\n"),
        DotenvFault::Inside { line: 2, .. }
    ));
    for name in ["", "1A", "A-B", "A B", "ä", "A="] {
        assert!(name.parse::<Variable>().is_err(), "{name}");
    }
}

#[test]
fn a6_each_value_takes_the_simplest_form_that_all_read_alike() {
    let forms = [
        ("abc8Q~x.-_=+%/", "abc8Q~x.-_=+%/"),
        ("~abc", "'~abc'"),
        ("a=~b", "'a=~b'"),
        ("a b#c&d\"e$f`g", "'a b#c&d\"e$f`g'"),
        ("it's", "\"it's\""),
        ("a\\b", "'a\\b'"),
    ];
    for (value, form) in forms {
        assert_eq!(quoted(value).unwrap().as_str(), form);
        assert_eq!(sourced("/bin/sh", &format!("KEY={form}")), value);
        assert_eq!(sourced("/bin/sh", &format!("export KEY={form}")), value);
    }
    for value in [
        "it's $5", "'\"", "a\\", "a\\\\b", "${HOME}", "a\nb", "é", "'\\", "a'`",
    ] {
        assert_eq!(quoted(value), Err(DotenvFault::Unquotable), "{value}");
    }
}

#[test]
fn h6_a_value_that_some_read_differently_is_not_held() {
    for file in [
        "KEY=\"a$b\"",
        "KEY=a # b",
        "KEY='a\\\\b'",
        "KEY=~a",
        "KEY=a b",
        "A=1",
        "KEY = a",
        "KEY= a",
        "KEY=1\nKEY=2",
    ] {
        assert_eq!(read_back(file.as_bytes(), &key()), None, "{file}");
    }
    for file in ["KEY=new", "export KEY=\"new\" \r\n", "A=1\nKEY='new'"] {
        assert_eq!(read_back(file.as_bytes(), &key()).unwrap().as_str(), "new");
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-D]=[a-z0-9./]{0,8}",
        "export [A-D]='[a-z #\"$]{0,8}'",
        "[A-D]=\"[a-z #']{0,8}\"",
        "# [ -~&&[^\\\\]]{0,12}",
        "[ \t]{0,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a6_what_is_accepted_is_sourced_and_read_back_alike(
        before in proptest::collection::vec(line(), 0..4),
        after in proptest::collection::vec(line(), 0..4),
        present: bool,
        crlf: bool,
        value in prop_oneof!["[ -~]{1,40}", "[a-zA-Z0-9~._=+%&$'\"\\\\ #-]{1,12}"],
    ) {
        let eol = if crlf { "\r\n" } else { "\n" };
        let join = |lines: &[String]| lines.iter().map(|line| format!("{line}{eol}")).collect();
        let (before, after): (String, String) = (join(&before), join(&after));
        let own = if present { format!("export KEY='old'{eol}") } else { String::new() };
        let file = format!("{before}{own}{after}");
        let Ok(result) = splice(Some(file.as_bytes()), &key(), &value) else {
            prop_assert_eq!(quoted(&value), Err(DotenvFault::Unquotable));
            return Ok(());
        };
        let read = read_back(result.as_bytes(), &key()).unwrap();
        prop_assert_eq!(read.as_str(), value.as_str());
        if present {
            prop_assert!(result.starts_with(&before) && result.ends_with(&after));
        } else {
            prop_assert!(result.starts_with(&file));
        }
        if !crlf {
            prop_assert_eq!(sourced("/bin/sh", &result), value.as_str());
        }
        let again = splice(Some(result.as_bytes()), &key(), &value).unwrap();
        prop_assert_eq!(again.as_str(), result.as_str());
    }
}
