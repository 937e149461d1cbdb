//! JSON to an address of the user's, signed.
//!
//! The body is a [`Message`]. Each request carries
//!
//! ```text
//! Keywheel-Signature: t=1772528400,v1=5257a869e7…
//! Keywheel-Message-Id: 01KJ…
//! ```
//!
//! `v1` is the HMAC-SHA256, in hexadecimal, of `t`, a dot and the body as it was sent, byte for
//! byte; the key is what `secret_file` holds, without the line break at its end. A receiver
//! computes it anew, compares in constant time, refuses a `t` that is more than five minutes away
//! from its own clock, and drops an `id` that it has seen: a message whose answer was lost is sent
//! again. Further `v…=` may be added; an unknown one is to be ignored.
//!
//! Any 2xx is a yes. 400, 413 and 422 refuse this one message, which is tried again ever more
//! rarely while others go on; all else is taken for a receiver that is not well, and everything
//! waits for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::channel::{Channel, ChannelFault};
use super::http::Post;
use super::message::Message;
use crate::clock::Clock;
use crate::secret_file;
use crate::settings::Address;

const SIGNATURE: HeaderName = HeaderName::from_static("keywheel-signature");
const MESSAGE_ID: HeaderName = HeaderName::from_static("keywheel-message-id");

/// See the module.
#[derive(Debug)]
pub struct Webhook {
    post: Post,
    secret_file: PathBuf,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook at `address`; one message takes no longer than `timeout`.
    pub fn new(
        address: Address,
        secret_file: PathBuf,
        ca_file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        timeout: Duration,
    ) -> Self {
        Self {
            post: Post::new(address, ca_file, timeout),
            secret_file,
            clock,
        }
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        let unusable = |detail: String| ChannelFault::Unusable { detail };
        let body = serde_json::to_vec(message).map_err(|error| unusable(error.to_string()))?;
        let secret = secret_file::read(&self.secret_file)?;
        let signature = signature(&secret, self.clock.now().timestamp(), &body);
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|error| unusable(error.to_string()));
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, value(&signature)?);
        headers.insert(MESSAGE_ID, value(&message.id.to_string())?);
        self.post.json(body, headers).await.map(drop)
    }
}

fn signature(secret: &SecretString, at: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let mut signed = hmac::Context::with_key(&key);
    signed.update(format!("{at}.").as_bytes());
    signed.update(body);
    let tag = signed.sign();
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={at},v1={hex}")
}
