//! A mail server that speaks as much SMTP as is needed, and remembers what it was sent.

use std::sync::{Arc, Mutex};

use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

#[derive(Debug, Clone, Default)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub encrypted: bool,
    pub user: Option<String>,
}

#[derive(Clone)]
pub enum Manner {
    /// In the clear.
    Plain,
    /// Offers STARTTLS.
    StartTls(TlsAcceptor),
    /// From the first byte.
    Tls(TlsAcceptor),
    /// Greets nobody.
    Silent,
    /// Answers in another language.
    Nonsense,
    /// Refuses each recipient.
    Refuses,
}

pub struct Smtp {
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    serving: JoinHandle<()>,
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Smtp {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let shared = received.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (manner, received) = (manner.clone(), shared.clone());
                tokio::spawn(async move {
                    match manner {
                        Manner::Tls(tls) => {
                            let stream = tls.accept(stream).await.ok()?;
                            dialogue(stream, &Manner::Plain, true, &received).await
                        }
                        manner => dialogue(stream, &manner, false, &received).await,
                    }
                });
            }
        });
        Self {
            port,
            received,
            serving,
        }
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

type Mails = Arc<Mutex<Vec<Received>>>;

async fn dialogue<S>(stream: S, manner: &Manner, encrypted: bool, mails: &Mails) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stream = stream;
    match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Nonsense => say(&mut stream, "HTTP/1.1 400 Bad Request").await?,
        _ => say(&mut stream, "220 lab ESMTP").await?,
    }
    if talk(&mut stream, manner, encrypted, mails).await? {
        let Manner::StartTls(tls) = manner else {
            return None;
        };
        let mut stream = tls.accept(stream).await.ok()?;
        talk(&mut stream, &Manner::Plain, true, mails).await?;
    }
    Some(())
}

/// Until the other side has had enough; true: it wants to go on encrypted.
async fn talk<S>(stream: &mut S, manner: &Manner, encrypted: bool, mails: &Mails) -> Option<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut mail = Received {
        encrypted,
        ..Received::default()
    };
    loop {
        let line = read_to(stream, "\r\n").await?;
        let word = line.split([' ', ':']).next().unwrap_or("").to_uppercase();
        match word.as_str() {
            "EHLO" if matches!(manner, Manner::StartTls(_)) => {
                say(stream, "250-lab\r\n250 STARTTLS").await?;
            }
            "EHLO" => say(stream, "250-lab\r\n250-8BITMIME\r\n250 AUTH PLAIN").await?,
            "STARTTLS" => {
                say(stream, "220 go ahead").await?;
                return Some(true);
            }
            "AUTH" => {
                let token = line.rsplit(' ').next().unwrap();
                let token = BASE64_STANDARD.decode(token).unwrap();
                mail.user = Some(String::from_utf8(token).unwrap().replace('\0', "|"));
                say(stream, "235 welcome").await?;
            }
            "MAIL" => {
                mail.from = line.clone();
                say(stream, "250 ok").await?;
            }
            "RCPT" if matches!(manner, Manner::Refuses) => say(stream, "550 no such user").await?,
            "RCPT" => {
                mail.to.push(line.clone());
                say(stream, "250 ok").await?;
            }
            "DATA" => {
                say(stream, "354 go on").await?;
                mail.data = read_to(stream, "\r\n.\r\n").await?;
                mails.lock().unwrap().push(mail.clone());
                say(stream, "250 taken").await?;
            }
            "QUIT" => {
                say(stream, "221 bye").await?;
                return Some(false);
            }
            _ => say(stream, "500 what?").await?,
        }
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), line: &str) -> Option<()> {
    stream
        .write_all(format!("{line}\r\n").as_bytes())
        .await
        .ok()?;
    stream.flush().await.ok()
}

/// Byte by byte: what follows may already be encrypted.
async fn read_to(stream: &mut (impl AsyncRead + Unpin), end: &str) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        bytes.push(stream.read_u8().await.ok()?);
    }
    bytes.truncate(bytes.len() - end.len());
    String::from_utf8(bytes).ok()
}

/// An authority of its own, and what it has certified for `localhost`.
pub fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    (issuer.pem(), TlsAcceptor::from(Arc::new(config)))
}
