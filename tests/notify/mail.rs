//! E-mail over SMTP.

use keywheel::notify::{ChannelFault, Message};

use crate::fixture::{SECRET, channel, channel_within, hostile, private};
use crate::receiver::SHORT;
use crate::smtp::{Manner, Smtp, authority};
use crate::world::start;

fn lines(host: &str, port: u16, encryption: &str, more: &str) -> String {
    format!(
        "kind = \"mail\"\nhost = \"{host}\"\nport = {port}\nencryption = \"{encryption}\"\n\
         from = \"Keywheel <keywheel@example.com>\"\nto = [\"ops@example.com\", \
         \"second@example.com\"]\n{more}"
    )
}

#[tokio::test]
async fn a_mail_says_what_happened_and_what_to_do() {
    let server = Smtp::start(Manner::Plain).await;
    let folder = tempfile::tempdir().unwrap();
    let mail = channel(folder.path(), &lines("127.0.0.1", server.port, "none", ""));
    let message = Message::test(start());
    mail.send(&message).await.unwrap();
    let [mail] = &server.received()[..] else {
        panic!("once");
    };
    assert!(mail.from.contains("<keywheel@example.com>"), "{mail:?}");
    assert_eq!(mail.to.len(), 2);
    for line in [
        "From: Keywheel <keywheel@example.com>",
        "Subject: [keywheel] Keywheel: a test message",
        &format!("Message-ID: <{}@example.com>", message.id),
        "Date: Tue, 03 Mar 2026 09:00:00 +0000",
        "Auto-Submitted: auto-generated",
        "What to do: nothing",
    ] {
        assert!(mail.data.contains(line), "{line} in {}", mail.data);
    }
}

#[tokio::test]
async fn i2_no_line_of_a_mail_is_somebody_elses() {
    let server = Smtp::start(Manner::Plain).await;
    let folder = tempfile::tempdir().unwrap();
    let mail = channel(folder.path(), &lines("127.0.0.1", server.port, "none", ""));
    mail.send(&hostile()).await.unwrap();
    let data = &server.received()[0].data;
    let (head, _) = data.split_once("\r\n\r\n").unwrap();
    assert!(head.lines().all(|line| !line.starts_with("Bcc")), "{head}");
    assert!(!data.contains("\r\nBcc"), "{data}");
    assert!(!data.contains(['\u{1b}', '\u{202e}']));
    assert_eq!(server.received().len(), 1, "a lone dot ends nothing");
}

#[tokio::test]
async fn starttls_is_required_and_the_password_goes_over_it_alone() {
    let (ca, tls) = authority();
    for (manner, encryption) in [
        (Manner::StartTls(tls.clone()), "starttls"),
        (Manner::Tls(tls.clone()), "tls"),
    ] {
        let server = Smtp::start(manner).await;
        let folder = tempfile::tempdir().unwrap();
        private(folder.path(), "ca.pem", &ca);
        private(folder.path(), "password", SECRET);
        let more = "ca_file = \"ca.pem\"\nusername = \"kw\"\npassword_file = \"password\"";
        let mail = channel(
            folder.path(),
            &lines("localhost", server.port, encryption, more),
        );
        mail.send(&Message::test(start())).await.unwrap();
        let [mail] = &server.received()[..] else {
            panic!("once");
        };
        assert!(mail.encrypted, "{encryption}");
        assert_eq!(mail.user.as_deref(), Some(&*format!("|kw|{SECRET}")));
    }
}

#[tokio::test]
async fn a_server_without_starttls_or_of_another_authority_gets_nothing() {
    let (ca, _) = authority();
    let (_, strange) = authority();
    for manner in [Manner::Plain, Manner::StartTls(strange)] {
        let server = Smtp::start(manner).await;
        let folder = tempfile::tempdir().unwrap();
        private(folder.path(), "ca.pem", &ca);
        private(folder.path(), "password", SECRET);
        let more = "ca_file = \"ca.pem\"\nusername = \"kw\"\npassword_file = \"password\"";
        let mail = channel(
            folder.path(),
            &lines("localhost", server.port, "starttls", more),
        );
        let fault = mail.send(&Message::test(start())).await.unwrap_err();
        assert!(server.received().is_empty());
        assert!(
            !format!("{fault} {fault:?}").contains(SECRET),
            "P6: {fault:?}"
        );
    }
}

#[tokio::test]
async fn a_mail_server_that_is_slow_refuses_or_babbles_is_a_fault() {
    for (manner, expected) in [
        (Manner::Silent, "too long"),
        (Manner::Nonsense, ""),
        (Manner::Refuses, "550"),
    ] {
        let server = Smtp::start(manner).await;
        let folder = tempfile::tempdir().unwrap();
        let lines = lines("127.0.0.1", server.port, "none", "");
        let mail = channel_within(folder.path(), &lines, SHORT);
        let fault = mail.send(&Message::test(start())).await.unwrap_err();
        assert!(fault.to_string().contains(expected), "{fault}");
        assert!(!matches!(fault, ChannelFault::File(_)));
    }
}
