//! J2: proxies, IPv6 alone, a private CA, and a name that nobody knows.

use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use keywheel::clock::{Clock, SystemClock};
use keywheel::sandbox::{NewApplication, Options, Sandbox, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// A sandbox behind TLS with a CA of its own, on IPv6 alone.
struct Lab {
    folder: TempDir,
    sandbox: Sandbox,
    add: Vec<String>,
    secret: String,
}

impl Lab {
    async fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["::1", "localhost"].map(str::to_owned)).unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        let sandbox = Sandbox::start(Options {
            listen: (Ipv6Addr::LOCALHOST, 0).into(),
            tls: Some(Tls {
                certificate: leaf.pem().into_bytes(),
                key: key.serialize_pem().into_bytes(),
            }),
            ..Options::default()
        })
        .await
        .unwrap();
        let tenant = sandbox.add_tenant("Contoso");
        let end = SystemClock.now() + TimeDelta::days(60);
        let new = NewApplication::rotating_itself(tenant, "app", end);
        let application = sandbox.add_application(new);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let add = format!(
            "connection add app --tenant-id {tenant} --client-id {} --cloud lab --pull",
            application.client_id
        );
        let lab = Self {
            folder,
            sandbox,
            add: add.split(' ').map(str::to_owned).collect(),
            secret: application.keys[0].value.expose_secret().to_owned(),
        };
        lab.configure(&lab.sandbox.url());
        lab.run(&["init"], &[]).await;
        lab
    }

    fn configure(&self, url: &str) {
        let config = self.folder.path().join("keywheel.toml");
        let text = format!(
            "[[cloud]]\nname = \"lab\"\nlogin = \"{url}\"\ngraph = \"{url}\"\nca_file = \"ca.pem\"\n\
             [verification]\nsuccesses = 1\nspacing = \"0s\"\n"
        );
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o640)).unwrap();
    }

    async fn run(&self, line: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keywheel"))
            .env_clear()
            .envs(variables.iter().copied())
            .arg("--config")
            .arg(self.folder.path().join("keywheel.toml"))
            .args(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // Who does not read it has closed it.
        let _ = input.write_all(self.secret.as_bytes()).await;
        drop(input);
        child.wait_with_output().await.unwrap()
    }

    async fn adopt(&self, variables: &[(&str, &str)]) -> Output {
        let line: Vec<&str> = self.add.iter().map(String::as_str).collect();
        self.run(&line, variables).await
    }
}

/// A proxy for CONNECT that leads to the sandbox alone, and what it was asked for.
async fn proxy(lab: &Lab) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = lab.sandbox.url().replace("https://", "");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connect(stream, upstream.clone(), Arc::clone(&heard)));
        }
    });
    (url, asked)
}

async fn connect(
    stream: TcpStream,
    upstream: String,
    heard: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = first.clone();
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line).await?;
    }
    heard.lock().unwrap().push(first.trim().to_owned());
    let mut upstream = TcpStream::connect(upstream).await?;
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn j2_ipv6_alone_and_a_private_ca_are_enough() {
    let lab = Lab::new().await;
    let output = lab.adopt(&[]).await;
    assert!(output.status.success(), "{}", said(&output));
    let output = lab.run(&["rotate", "app"], &[]).await;
    assert!(output.status.success(), "{}", said(&output));
}

#[tokio::test]
async fn j2_a_proxy_is_used_where_it_is_named_and_sees_no_secret() {
    let lab = Lab::new().await;
    let (url, asked) = proxy(&lab).await;
    let host = lab.sandbox.url().replace("https://[::1]", "localhost");
    lab.configure(&format!("https://{host}"));
    let output = lab.adopt(&[("HTTPS_PROXY", &url)]).await;
    assert!(output.status.success(), "{}", said(&output));
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|it| *it == format!("CONNECT {host} HTTP/1.1")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn j2_a_host_that_needs_no_proxy_is_called_without() {
    let lab = Lab::new().await;
    let (url, asked) = proxy(&lab).await;
    let output = lab
        .adopt(&[("HTTPS_PROXY", &url), ("NO_PROXY", "::1")])
        .await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(*asked.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn j2_a_name_that_nobody_knows_is_said_and_nothing_is_adopted() {
    let lab = Lab::new().await;
    lab.configure("https://no-such-host.invalid");
    let output = lab.adopt(&[]).await;
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("no-such-host.invalid"), "{said}");
    assert!(!said.contains(&lab.secret));
    let listed = lab.run(&["connection", "list", "-o", "json"], &[]).await;
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "[]");
}
