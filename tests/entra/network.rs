use std::io::Write;
use std::sync::Mutex;

use keywheel::entra::{Class, FaultKind, Nonsense};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tracing_subscriber::fmt::MakeWriter;

use super::server::{Reply, answer, json as reply, refusal};
use super::*;

#[tokio::test]
async fn j2_a_host_that_is_down_was_sent_nothing() {
    let (bench, token) = Bench::signed_in([]).await;
    let cloud = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", free.local_addr().unwrap());
        Cloud::new("lab", &base, &base, None).unwrap()
    };
    let entra = Entra::new(vec![cloud], Duration::from_secs(1), bench.clock.clone());
    let added = entra.add_password(&token, object_id(), "name", at(NOW));
    let fault = added.await.unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Unreachable { .. }));
    assert_eq!(fault.class(), Class::Transient);
    assert!(fault.made_nothing());
    assert!(fault.to_string().contains("127.0.0.1"), "{fault}");
}

#[tokio::test]
async fn j3_endless_body_is_bounded() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n{",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{",
    ] {
        let (bench, token) = Bench::signed_in([Reply::Endless(head.into())]).await;
        let read = bench.entra.application(&token, object_id()).await;
        let fault = read.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Nonsense(Nonsense::TooLarge));
        assert_eq!(fault.class(), Class::Transient);
    }
}

#[tokio::test]
async fn j3_redirect_is_refused() {
    let elsewhere = Bench::with([]).await;
    let location = format!("Location: http://127.0.0.1:{}/\r\n", elsewhere.server.port);
    for status in [301, 302, 303, 307, 308] {
        let moved = answer(status, &location, "");
        let (bench, token) = Bench::signed_in([moved.clone(), moved.clone(), moved]).await;
        let redirected = FaultKind::Nonsense(Nonsense::Redirect);
        let read = bench.entra.application(&token, object_id()).await;
        assert_eq!(read.unwrap_err().kind, redirected);
        let proof = bench.entra.prove(&app(), &secret()).await;
        assert_eq!(proof.unwrap_err().kind, redirected);
        let fault = bench.add(&token).await.unwrap_err();
        assert_eq!(fault.class(), Class::Ambiguous);
    }
    assert!(elsewhere.server.requests().is_empty());
}

#[tokio::test]
async fn j4_html_with_200() {
    let (bench, token) = Bench::signed_in([
        answer(200, "", "<html>Welcome</html>"),
        answer(200, "", "<html>Welcome</html>"),
    ])
    .await;
    let read = bench.entra.application(&token, object_id()).await;
    let fault = read.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Nonsense(Nonsense::NotJson));
    assert_eq!(fault.class(), Class::Transient);
    assert!(fault.to_string().contains("proxy or portal"), "{fault}");
    assert_eq!(
        bench.add(&token).await.unwrap_err().class(),
        Class::Ambiguous
    );
}

#[tokio::test]
async fn j4_truncated_json() {
    let whole = json!({"keyId": KEY, "secretText": SECRET}).to_string();
    for cut in [1, whole.len() / 2, whole.len() - 1] {
        let (bench, token) = Bench::signed_in([answer(200, "", &whole[..cut])]).await;
        let fault = bench.add(&token).await.unwrap_err();
        assert_eq!(fault.class(), Class::Ambiguous, "{cut}");
    }
}

#[tokio::test]
async fn j2_a_private_authority_is_trusted_for_its_cloud_alone() {
    let clock = Arc::new(VirtualClock::new(at(NOW)));
    let (ca, acceptor) = authority();
    let (other, _) = authority();
    let server = Server::listen([token_answer()], Some(acceptor)).await;
    let base = format!("https://127.0.0.1:{}", server.port);
    let cloud = |name: &str, ca: String| Cloud::new(name, &base, &base, Some(ca.into_bytes()));
    let clouds = vec![
        cloud("lab", ca).unwrap(),
        cloud("other", other).unwrap(),
        Cloud::new("host", &base, &base, None).unwrap(),
    ];
    let entra = Entra::new(clouds, Duration::from_secs(5), clock);
    for name in ["other", "host"] {
        let mut app = app();
        app.cloud = name.into();
        let fault = entra.token(&app, &secret()).await.unwrap_err();
        assert!(
            matches!(fault.kind, FaultKind::Unreachable { .. }),
            "{fault}"
        );
        assert!(fault.to_string().contains("certificate"), "{fault}");
    }
    assert!(server.requests().is_empty());
    entra.token(&app(), &secret()).await.unwrap();
}

/// A certificate authority of its own, and a server on loopback that it vouches for.
fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private)
        .unwrap();
    (ca.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[derive(Debug, Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Whatever a server repeats of what it was sent, no log, error or `Debug` does.
#[tokio::test]
async fn p6_no_secret_in_debug_or_error() {
    let captured = Captured::default();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(captured.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
    let mut told = String::new();

    let echo = format!("You sent {SECRET} and Bearer {TOKEN}.");
    let description = format!("AADSTS7000216: {echo}");
    let sign_in = json!({"error": SECRET, "error_description": description});
    for echoing in [
        reply(400, &sign_in),
        reply(
            401,
            &json!({"error": "invalid_client", "error_description": echo}),
        ),
        answer(200, "", &echo),
        answer(500, "", &echo),
        answer(302, &format!("Location: https://x/?{SECRET}\r\n"), ""),
        answer(429, &format!("Retry-After: {SECRET}\r\n"), &echo),
    ] {
        let bench = Bench::with([echoing]).await;
        let fault = bench.entra.prove(&app(), &secret()).await.unwrap_err();
        told += &format!("{fault} {fault:?} {} {:?}", fault.code(), fault.remedy());
    }
    let made = json!({"keyId": KEY, "secretText": SECRET, "displayName": "x"});
    let broken = json!({"keyId": 1, "secretText": SECRET, "displayName": SECRET});
    for echoing in [
        refusal(400, "Request_BadRequest", &echo),
        refusal(400, SECRET, &echo),
        refusal(403, "Authorization_RequestDenied", &echo),
        reply(200, &broken),
        reply(500, &made),
        Reply::Cut(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{made}"
        )),
        Reply::Cut(format!("{made}\r\n\r\n")),
    ] {
        let (bench, token) = Bench::signed_in([echoing]).await;
        let fault = bench.add(&token).await.unwrap_err();
        told += &format!("{fault} {fault:?} {} {:?}", fault.code(), fault.remedy());
        told += &format!("{token:?} {:?}", bench.entra);
    }
    let (bench, token) = Bench::signed_in([reply(200, &made)]).await;
    let minted = bench.add(&token).await.unwrap();
    assert_eq!(minted.secret.expose_secret(), SECRET);
    told += &format!("{minted:?}");

    let logged = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("client_request_id"), "{logged}");
    assert!(logged.contains("/oauth2/v2.0/token"), "{logged}");
    assert!(!logged.contains("select"), "{logged}");
    for text in [told, logged] {
        for canary in [SECRET, TOKEN, "canary"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}
