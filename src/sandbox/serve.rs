//! The listener: HTTP on loopback, or TLS; and how it stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::front::{Connection, HungUp, State};
use super::token::NoRandomness;
use crate::clock::{Clock, SystemClock};

/// How long open connections get to finish when the sandbox stops.
const DRAIN: Duration = Duration::from_secs(2);
/// Idle or dawdling peers are let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// More than any call to the sandbox needs.
const LARGEST_BODY: usize = 1 << 20;

/// Why the sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Secrets would cross a network in the clear.
    #[error(
        "plain HTTP is served on loopback only, and {0} is not: give a TLS certificate and key, or \
         listen on 127.0.0.1"
    )]
    PlainHttpOffLoopback(SocketAddr),
    /// The address is taken, or not this host's.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A file that can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The certificate or the key is not in PEM.
    #[error("the TLS {what} is not usable: {source}")]
    Pem {
        /// `certificate` or `key`.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key do not fit, or TLS refuses them.
    #[error("TLS refuses the certificate and its key: {0}")]
    Tls(#[from] rustls::Error),
    /// See [`NoRandomness`].
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A certificate chain and its key, both in PEM.
#[derive(Clone)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: Vec<u8>,
    /// The key, not encrypted.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, StartError> {
        let unusable = |what| move |source| StartError::Pem { what, source };
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(unusable("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(unusable("key"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Accepts connections until told to stop, then lets those that are open finish.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let mut accepted = 0;
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = stopped(&mut stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = stream else {
            // Out of file descriptors, most likely; others need a moment to close some.
            SystemClock.sleep(Duration::from_millis(20)).await;
            continue;
        };
        accepted += 1;
        let connection = Arc::new(Connection {
            number: accepted,
            calls: AtomicU64::new(0),
        });
        connections.spawn(talk(
            stream,
            tls.clone(),
            Arc::clone(&state),
            connection,
            stop.clone(),
        ));
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await;
}

/// Resolves when the sandbox is stopped or dropped.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn talk(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    state: Arc<State>,
    connection: Arc<Connection>,
    stop: watch::Receiver<bool>,
) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    match tls {
        None => exchange(stream, state, connection, stop).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                exchange(stream, state, connection, stop).await;
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: Arc<State>,
    connection: Arc<Connection>,
    mut stop: watch::Receiver<bool>,
) {
    let service =
        service_fn(|request| answer(Arc::clone(&state), Arc::clone(&connection), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    // A broken line or a hang-up ends the connection; there is nobody to tell.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

async fn answer(
    state: Arc<State>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, HungUp> {
    let (parts, body) = request.into_parts();
    let body: Bytes = match to_bytes(Body::new(body), LARGEST_BODY).await {
        Ok(body) => body,
        Err(_) => {
            let mut refusal = Response::new(Body::empty());
            *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(refusal);
        }
    };
    // A task of its own: as with a real server, what has arrived is carried out although the
    // caller may have gone.
    let task = tokio::spawn(async move { state.receive(&connection, parts, body).await });
    task.await.unwrap_or(Err(HungUp))
}
