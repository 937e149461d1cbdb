//! `[[notify]]` in the settings.

use keywheel::settings::{Encryption, NotifyEvent, NotifyKind};

use crate::fixture::{private, settings, webhook};

#[test]
fn every_key_of_a_channel_is_read() {
    let folder = tempfile::tempdir().unwrap();
    private(folder.path(), "secret", "x");
    private(folder.path(), "ca.pem", "x");
    let read = settings(
        folder.path(),
        &format!(
            "[[notify]]\nname = \"hook\"\n{}\nevents = [\"rotated\"]\nlabels = {{ team = \"crm\" }}\n\
             ca_file = \"ca.pem\"\n\
             [[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl_file = \"secret\"\n\
             [[notify]]\nname = \"mail\"\nkind = \"mail\"\nhost = \"mail.example.com\"\n\
             from = \"a@example.com\"\nto = [\"b@example.com\"]\nusername = \"u\"\n\
             password_file = \"secret\"\n",
            webhook("https://example.com/x")
        ),
    )
    .unwrap();
    let [hook, chat, mail] = &read.channels[..] else {
        panic!("three");
    };
    assert_eq!(hook.events, [NotifyEvent::Rotated]);
    let crm = [("team".to_owned(), "crm".to_owned())].into();
    assert!(hook.wants(NotifyEvent::Rotated, &crm));
    assert!(!hook.wants(NotifyEvent::Rotated, &Default::default()));
    assert!(!hook.wants(NotifyEvent::Failing, &crm));
    assert!(chat.wants(NotifyEvent::Recovered, &crm));
    assert!(!chat.wants(NotifyEvent::Rotated, &crm), "off by default");
    let NotifyKind::Mail(mail) = &mail.kind else {
        panic!("mail");
    };
    assert_eq!((mail.encryption, mail.port), (Encryption::StartTls, 587));
}

#[test]
fn what_is_wrong_with_a_channel_is_said_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    private(folder.path(), "secret", "x");
    let mail = "kind = \"mail\"\nhost = \"mail.example.com\"\nfrom = \"a@example.com\"\n\
                to = [\"b@example.com\"]";
    for (lines, said) in [
        ("kind = \"slak\"", "did you mean \"slack\"?"),
        (
            "kind = \"slack\"\nurl_file = \"secret\"\nevents = [\"faling\"]",
            "did you mean \"failing\"?",
        ),
        (
            "kind = \"slack\"\nurl_file = \"secret\"\nevent = []",
            "did you mean \"events\"?",
        ),
        (
            "kind = \"slack\"\nurl = \"https://x.example\"",
            "`url_file` is missing",
        ),
        (
            "kind = \"webhook\"\nsecret_file = \"secret\"",
            "`url` is missing here, or `url_file`",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://example.com\"\nsecret_file = \"secret\"",
            "not encrypted",
        ),
        (&format!("{mail}\nencryption = \"none\""), "in the clear"),
        (
            &format!("{mail}\nencryption = \"startls\""),
            "did you mean \"starttls\"?",
        ),
        (&format!("{mail}\nusername = \"u\""), "go together"),
        (
            &mail.replace("b@example.com", "nobody"),
            "is not an address",
        ),
        (
            "kind = \"slack\"\nurl_file = \"missing\"",
            "there is no file",
        ),
    ] {
        let text = format!("[[notify]]\nname = \"x\"\n{lines}\n");
        let fault = settings(folder.path(), &text).unwrap_err();
        assert!(fault.contains(said), "{said} in {fault}");
    }
    let twice = "[[notify]]\nname = \"x\"\nkind = \"slack\"\nurl_file = \"secret\"\n".repeat(2);
    let fault = settings(folder.path(), &twice).unwrap_err();
    assert!(fault.contains("already above"), "{fault}");
    let exposed = private(folder.path(), "url", "x");
    std::fs::set_permissions(
        &exposed,
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let text = "[[notify]]\nname = \"x\"\nkind = \"slack\"\nurl_file = \"url\"\n";
    let fault = settings(folder.path(), text).unwrap_err();
    assert!(fault.contains("others can get at the secret"), "{fault}");
}
