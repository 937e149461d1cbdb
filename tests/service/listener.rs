//! What the listener shows: health, metrics, the page; never a secret.

use rustix::process::Signal;
use secrecy::ExposeSecret;

use crate::host::{Host, Running, until};

/// The service's address, once its log names it.
async fn address(service: &Running) -> String {
    let found = |log: &str| {
        let (_, after) = log.split_once("the page are at ")?;
        Some(
            after
                .split_whitespace()
                .next()?
                .trim_end_matches('/')
                .to_owned(),
        )
    };
    until(async || found(&service.log()).is_some()).await;
    found(&service.log()).unwrap()
}

async fn read(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn i8_i1_metrics_are_absolute_and_no_page_has_a_secret() {
    let host = Host::with(2, "listen = \"127.0.0.1:0\"").await;
    let mut service = host.serve(&[]);
    let address = address(&service).await;
    host.until_rotated().await;
    let (status, metrics) = read(&format!("{address}/metrics")).await;
    assert_eq!(status, 200);
    let journal = host.journal("app-0").await;
    let current = journal.current().unwrap();
    let expires = format!(
        "keywheel_credential_expiration_timestamp_seconds{{connection=\"app-0\",key_id=\"{}\"}}",
        current.key_id
    );
    let at = current.expires_at.unwrap().timestamp();
    assert_eq!(value(&metrics, &expires), Some(at as f64));
    let due = "keywheel_rotation_due_timestamp_seconds{connection=\"app-0\"}";
    assert_eq!(
        value(&metrics, due),
        Some(journal.due_at.timestamp() as f64)
    );
    assert_eq!(
        value(&metrics, "keywheel_steps_total{step=\"promoted\"}"),
        Some(2.0)
    );
    assert_eq!(value(&metrics, "keywheel_ready"), Some(1.0));
    // Each family once, its help and type before its samples.
    let mut families: Vec<&str> = metrics
        .lines()
        .filter_map(|it| it.strip_prefix("# TYPE "))
        .collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);

    let mut pages = vec![metrics];
    for path in ["", "page.css", "status.json", "healthz", "readyz"] {
        let (status, text) = read(&format!("{address}/{path}")).await;
        assert_eq!(status, 200, "{path}");
        pages.push(text);
    }
    for application in &host.kept {
        for key in host.sandbox.keys(application.1.client_id) {
            let value = key.value.expose_secret().to_owned();
            assert!(pages.iter().all(|page| !page.contains(&value)));
        }
    }
    assert!(pages[1].contains("app-1"), "the search finds what is there");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().await, Some(0));
}

#[tokio::test]
async fn the_page_has_no_script_and_the_json_is_that_of_status() {
    let host = Host::with(1, "listen = \"127.0.0.1:0\"").await;
    let service = host.serve(&[]);
    let address = address(&service).await;
    host.until_rotated().await;
    let answer = reqwest::get(format!("{address}/")).await.unwrap();
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = answer.text().await.unwrap();
    assert!(!page.contains("<script") && page.contains("lang=\"en\""));
    let (_, served) = read(&format!("{address}/status.json")).await;
    let status = host.command(&["status", "-o", "json"]).await;
    let served: serde_json::Value = serde_json::from_str(&served).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(served, status);
}

#[tokio::test]
async fn a_service_without_connections_is_alive_and_not_ready() {
    let host = Host::with(0, "listen = \"127.0.0.1:0\"").await;
    let service = host.serve(&[]);
    let address = address(&service).await;
    assert_eq!(read(&format!("{address}/healthz")).await.0, 200);
    let (status, why) = read(&format!("{address}/readyz")).await;
    assert!(
        status == 503 && why.contains("no connections"),
        "{status} {why}"
    );
    let (_, page) = read(&format!("{address}/")).await;
    assert!(page.contains("keywheel connection add"));
}

#[tokio::test]
async fn an_address_that_is_taken_hinders_no_rotation() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = format!("listen = \"{}\"", taken.local_addr().unwrap());
    let host = Host::with(1, &listen).await;
    let service = host.serve(&[]);
    host.until_rotated().await;
    service.until_logged("rotations go on").await;
}

#[tokio::test]
async fn a_unix_socket_serves_the_same_and_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = Host::with(1, "listen = \"unix:http.sock\"").await;
    let path = host.path("http.sock");
    // A former process left one.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _service = host.serve(&[]);
    until(async || tokio::net::UnixStream::connect(&path).await.is_ok()).await;
    let mode = path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("alive"), "{answer}");
}

#[tokio::test]
async fn p7_every_line_of_a_rotation_carries_its_connection_and_its_id() {
    let host = Host::new(2).await;
    let mut service = host.serve(&[("KEYWHEEL_LOG_FORMAT", "json")]);
    host.until_rotated().await;
    service.signal(Signal::TERM);
    service.ended().await;
    let lines: Vec<serde_json::Value> = service
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (name, _) in &host.kept {
        let id = host
            .engine
            .store
            .journal(&name.parse().unwrap())
            .await
            .unwrap()
            .unwrap();
        let id = id.rotations[0].id.to_string();
        for message in [
            "a new secret is sealed",
            "the new secret is current",
            "delivered",
        ] {
            let found = lines.iter().any(|line| {
                line["fields"]["message"] == message
                    && line["span"]["connection"] == *name
                    && line["span"]["rotation_id"] == id
            });
            assert!(found, "{name}: {message}");
        }
    }
}

#[tokio::test]
async fn p7_i6_a_connection_that_the_new_settings_lack_something_for_is_named_and_hides_no_other() {
    let host = Host::with(2, "listen = \"127.0.0.1:0\"").await;
    let service = host.serve(&[]);
    let address = address(&service).await;
    host.until_rotated().await;
    host.edit("app-0", |declared| {
        declared.identity = Some("nobody".into())
    })
    .await;
    service.signal(Signal::HUP);
    service.until_logged("nothing is done for it").await;
    assert!(service.log().contains("app-0"), "{}", service.log());
    let (_, metrics) = read(&format!("{address}/metrics")).await;
    let lacks = "keywheel_connection_lacks_settings{connection=\"app-0\"}";
    assert_eq!(value(&metrics, lacks), Some(1.0));
    let other = "keywheel_rotation_due_timestamp_seconds{connection=\"app-1\"}";
    assert!(value(&metrics, other).is_some());
    let (_, page) = read(&format!("{address}/")).await;
    assert!(
        page.contains("app-0") && page.contains("keywheel status"),
        "{page}"
    );
}

#[tokio::test]
async fn p7_metrics_of_a_store_that_can_t_be_read_say_so() {
    let host = Host::with(1, "listen = \"127.0.0.1:0\"").await;
    let service = host.serve(&[]);
    let address = address(&service).await;
    host.until_rotated().await;
    let (_, whole) = read(&format!("{address}/metrics")).await;
    assert_eq!(value(&whole, "keywheel_scrape_whole"), Some(1.0));
    let database = rusqlite::Connection::open(&host.engine.settings.store_path).unwrap();
    database
        .execute_batch("PRAGMA foreign_keys = OFF; ALTER TABLE delivery RENAME TO away;")
        .unwrap();
    let (status, metrics) = read(&format!("{address}/metrics")).await;
    assert_eq!(status, 200);
    assert!(value(&metrics, "keywheel_ready").is_some());
    assert_eq!(value(&metrics, "keywheel_scrape_whole"), Some(0.0));
}
