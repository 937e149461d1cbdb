//! Channels over HTTP: what they send, and what they take for a yes.

use aws_lc_rs::hmac;
use keywheel::notify::{ChannelFault, Message, TIMEOUT};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{SECRET, channel, channel_within, private, settings, webhook};
use crate::receiver::{Receiver, Reply, SHORT};
use crate::smtp::authority;
use crate::world::start;

#[tokio::test]
async fn a_webhook_is_signed_as_its_module_says() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([Reply::Say(204, "")]).await;
    let hook = channel(folder.path(), &webhook(&receiver.url()));
    let message = Message::test(start());
    hook.send(&message).await.unwrap();
    let [received] = &receiver.received()[..] else {
        panic!("once");
    };
    let (t, v1) = received
        .header("keywheel-signature")
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    assert_eq!(t, start().timestamp().to_string());
    assert_eq!(v1, by_hand(SECRET.as_bytes(), t, &received.body));
    assert_eq!(
        received.header("keywheel-message-id"),
        message.id.to_string()
    );
    assert_eq!(
        received.header("content-type"),
        "application/json; charset=utf-8"
    );
    let all = format!("{received:?}");
    assert!(!all.contains(SECRET), "P6: {all}");
}

/// HMAC as RFC 2104 words it, from the hash alone.
fn by_hand(key: &[u8], t: &str, body: &[u8]) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block.to_vec()
    };
    let inner = [&pad(0x36)[..], t.as_bytes(), b".", body].concat();
    let outer = [&pad(0x5c)[..], digest(&SHA256, &inner).as_ref()].concat();
    let tag = digest(&SHA256, &outer);
    // The known answer of RFC 4231, so that this is not wrong in the same way.
    let known = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, b"Jefe"),
        b"what do ya want for nothing?",
    );
    assert!(hex(known.as_ref()).starts_with("5bdcc146bf60754e6a042426089575c7"));
    hex(tag.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_body_of_a_webhook_has_stable_fields() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([]).await;
    let hook = channel(folder.path(), &webhook(&receiver.url()));
    let message = Message::test(start());
    hook.send(&message).await.unwrap();
    let expected = json!({
        "id": message.id.to_string(), "at": "2026-03-03T09:00:00Z", "event": "test", "reminder": 0,
        "connection": null, "tenant_id": null, "client_id": null, "labels": {}, "cause": "test",
        "title": "Keywheel: a test message",
        "message": "`keywheel notify test` was called, and this channel works.",
        "remedy": "nothing", "since": null, "ends_at": null, "rotation_id": null, "key_id": null,
        "dropped": 0,
    });
    assert_eq!(receiver.received()[0].json(), expected);
}

#[tokio::test]
async fn a_receiver_that_is_down_slow_or_answers_nonsense_is_a_fault() {
    let elsewhere = Receiver::start([]).await;
    for (reply, expected) in [
        (Reply::Say(500, "oops"), "500 (oops)"),
        (Reply::Say(403, "invalid_token"), "403 (invalid_token)"),
        (Reply::Say(404, "<html>not here</html>"), "answered 404"),
        (Reply::Redirect(elsewhere.url()), "portal"),
        (Reply::Endless, "portal"),
        (Reply::Silence, "too long"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start([reply.clone()]).await;
        let within = match reply {
            Reply::Silence => SHORT,
            _ => TIMEOUT,
        };
        let hook = channel_within(folder.path(), &webhook(&receiver.url()), within);
        let fault = hook.send(&Message::test(start())).await.unwrap_err();
        assert!(!fault.is_of_message(), "{reply:?}");
        assert!(fault.to_string().contains(expected), "{reply:?}: {fault}");
        assert!(
            !format!("{fault} {fault:?}").contains("T0P-SECRET"),
            "P6: {fault:?}"
        );
    }
    assert!(elsewhere.received().is_empty(), "no redirect is followed");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/T0P-SECRET", free.local_addr().unwrap());
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let hook = channel(folder.path(), &webhook(&url));
    let fault = hook.send(&Message::test(start())).await.unwrap_err();
    assert!(matches!(fault, ChannelFault::Unreachable { .. }), "{fault}");
    assert!(
        !format!("{fault} {fault:?}").contains("T0P-SECRET"),
        "{fault:?}"
    );
}

#[tokio::test]
async fn a_refusal_of_one_message_is_told_from_a_receiver_that_is_not_well() {
    for (status, of_message) in [
        (400, true),
        (413, true),
        (422, true),
        (401, false),
        (503, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start([Reply::Say(status, "")]).await;
        let hook = channel(folder.path(), &webhook(&receiver.url()));
        let fault = hook.send(&Message::test(start())).await.unwrap_err();
        assert_eq!(fault.is_of_message(), of_message, "{status}");
    }
}

#[tokio::test]
async fn the_address_in_a_file_is_read_anew_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Receiver::start([]).await, Receiver::start([]).await);
    private(folder.path(), "url", &format!("{}\n", first.url()));
    let slack = channel(folder.path(), "kind = \"slack\"\nurl_file = \"url\"");
    slack.send(&Message::test(start())).await.unwrap();
    private(folder.path(), "url", &second.url());
    slack.send(&Message::test(start())).await.unwrap();
    assert_eq!((first.received().len(), second.received().len()), (1, 1));
    for wrong in [
        "http://hooks.example.com/T0P-SECRET",
        "T0P-SECRET",
        "ftp://x/T0P-SECRET",
    ] {
        private(folder.path(), "url", wrong);
        let fault = slack.send(&Message::test(start())).await.unwrap_err();
        assert!(
            matches!(fault, ChannelFault::Unusable { .. }),
            "{wrong}: {fault}"
        );
        assert!(
            !format!("{fault:?}").contains("T0P-SECRET"),
            "P6: {fault:?}"
        );
    }
}

#[tokio::test]
async fn a_yes_that_is_none_is_no_yes() {
    let html = "<html><body>Welcome to the hotel</body></html>";
    let failed =
        "Webhook message delivery failed with error: Microsoft Teams endpoint returned 429";
    for (kind, body, taken) in [
        ("slack", "ok", true),
        ("slack", html, false),
        ("teams", "", true),
        ("teams", "1", true),
        ("teams", html, false),
        ("teams", failed, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start([Reply::Say(200, body)]).await;
        private(folder.path(), "url", &receiver.url());
        let lines = format!("kind = \"{kind}\"\nurl_file = \"url\"");
        let sent = channel(folder.path(), &lines)
            .send(&Message::test(start()))
            .await;
        assert_eq!(sent.is_ok(), taken, "{kind} {body}: {sent:?}");
    }
}

#[tokio::test]
async fn how_long_a_channel_wants_to_be_left_alone_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start([Reply::RetryAfter(77, "rate_limited")]).await;
    let hook = channel(folder.path(), &webhook(&receiver.url()));
    let fault = hook.send(&Message::test(start())).await.unwrap_err();
    assert_eq!(fault.wait().map(|wait| wait.as_secs()), Some(77));
}

#[tokio::test]
async fn a_ca_file_without_a_certificate_is_said_and_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    private(folder.path(), "ca.pem", "nothing");
    let lines = format!("{}\nca_file = \"ca.pem\"", webhook("https://localhost:1/"));
    let hook = channel(folder.path(), &lines);
    let fault = hook.send(&Message::test(start())).await.unwrap_err();
    assert!(fault.to_string().contains("ca.pem"), "{fault}");
    let lines = format!(
        "[[notify]]\nname = \"x\"\n{}",
        webhook("http://hooks.example.com/T0P")
    );
    let refused = settings(folder.path(), &lines).unwrap_err();
    assert!(refused.contains("not encrypted"), "{refused}");
}

#[tokio::test]
async fn over_https_the_authority_of_the_settings_alone_is_trusted() {
    let (ca, tls) = authority();
    let (other, _) = authority();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = tls.accept(stream).await {
                stream.read_u8().await.unwrap();
                let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        }
    });
    for (pem, trusted) in [(ca, true), (other, false)] {
        let folder = tempfile::tempdir().unwrap();
        private(folder.path(), "ca.pem", &pem);
        let url = format!("https://localhost:{port}/hook");
        let lines = format!("{}\nca_file = \"ca.pem\"", webhook(&url));
        let sent = channel(folder.path(), &lines)
            .send(&Message::test(start()))
            .await;
        assert_eq!(sent.is_ok(), trusted, "{sent:?}");
    }
    serving.abort();
}
