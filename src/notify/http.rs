//! One POST: bounded in time and size, without redirects, over HTTPS or on loopback.

use std::error::Error;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use secrecy::ExposeSecret;

use super::channel::ChannelFault;
use crate::secret_file;
use crate::settings::{Address, hook_url};
use crate::text::{code_word, harmless};

/// Of an answer no more is read: those of all kinds of channels are a few words.
const LARGEST_BODY: usize = 16 * 1024;

/// Statuses that speak of the message alone. Others speak of the address, of who sends, or of how
/// the receiver is.
const OF_MESSAGE: [StatusCode; 3] = [
    StatusCode::BAD_REQUEST,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNPROCESSABLE_ENTITY,
];

/// Where something is posted to.
#[derive(Debug)]
pub(super) struct Post {
    address: Address,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    encrypted: OnceLock<Client>,
    plain: OnceLock<Client>,
}

/// The body of an answer that said yes.
pub(super) struct Taken {
    pub(super) body: Vec<u8>,
}

impl Post {
    pub(super) fn new(address: Address, ca_file: Option<PathBuf>, timeout: Duration) -> Self {
        Self {
            address,
            ca_file,
            timeout,
            encrypted: OnceLock::new(),
            plain: OnceLock::new(),
        }
    }

    /// Posts `body` once; any 2xx is a yes.
    pub(super) async fn json(
        &self,
        body: Vec<u8>,
        headers: HeaderMap,
    ) -> Result<Taken, ChannelFault> {
        let url = self.url()?;
        let request = self
            .client(&url)?
            .post(url)
            .headers(headers)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body);
        let mut response = request.send().await.map_err(undelivered)?;
        let status = response.status();
        let wait = retry_after(response.headers());
        if status.is_redirection() {
            return Err(ChannelFault::Nonsense);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(undelivered)? {
            if body.len() + chunk.len() > LARGEST_BODY {
                return Err(ChannelFault::Nonsense);
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(Taken { body });
        }
        Err(ChannelFault::Answered {
            status: status.as_u16(),
            word: word(&body),
            wait,
            of_message: OF_MESSAGE.contains(&status),
        })
    }

    /// Read anew each time: whoever changes the file need not restart anything.
    fn url(&self) -> Result<Url, ChannelFault> {
        let path = match &self.address {
            Address::Url(url) => return Ok(url.clone()),
            Address::File(path) => path,
        };
        let text = secret_file::read(path)?;
        hook_url(text.expose_secret().trim()).map_err(|fault| ChannelFault::Unusable {
            detail: format!("in {}: {fault}", path.display()),
        })
    }

    fn client(&self, url: &Url) -> Result<&Client, ChannelFault> {
        let is_plain = url.scheme() == "http";
        let cell = if is_plain {
            &self.plain
        } else {
            &self.encrypted
        };
        match cell.get() {
            Some(client) => Ok(client),
            None => {
                let client = self.build(is_plain)?;
                Ok(cell.get_or_init(|| client))
            }
        }
    }

    fn build(&self, is_plain: bool) -> Result<Client, ChannelFault> {
        let builder = Client::builder()
            .user_agent(concat!("keywheel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .timeout(self.timeout)
            // Messages are rare: a connection that waits for the next one is dead by then.
            .pool_max_idle_per_host(0);
        let builder = match &self.ca_file {
            // A plain address is on loopback: no proxy may see it, and no certificate is looked at.
            _ if is_plain => builder.no_proxy().tls_certs_only([]),
            Some(path) => builder.https_only(true).tls_certs_only(authorities(path)?),
            None => builder.https_only(true),
        };
        builder.build().map_err(|error| ChannelFault::Unusable {
            detail: reason(error),
        })
    }
}

fn authorities(path: &PathBuf) -> Result<Vec<reqwest::Certificate>, ChannelFault> {
    let unusable = |detail: String| ChannelFault::Unusable {
        detail: format!("ca_file {}: {detail}", path.display()),
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    reqwest::Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| unusable("it holds no certificate in PEM form".into()))
}

fn undelivered(error: reqwest::Error) -> ChannelFault {
    if error.is_timeout() {
        return ChannelFault::TimedOut;
    }
    ChannelFault::Unreachable {
        detail: reason(error),
    }
}

/// The innermost cause, without the address.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    harmless(&cause.to_string(), 160)
}

/// Slack and others answer with one word, such as `invalid_payload`.
fn word(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let word = code_word(text);
    (word == text).then_some(word)
}

/// In seconds, as all of these receivers write it.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
