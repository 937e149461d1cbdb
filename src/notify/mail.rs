//! E-mail over SMTP: encrypted with TLS or STARTTLS, in the clear to this host alone.
//!
//! STARTTLS is required, never opportunistic: a server that does not offer it gets nothing. Each
//! message has a connection of its own; messages are rare.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use secrecy::ExposeSecret;

use super::channel::{Channel, ChannelFault};
use super::message::Message;
use crate::secret_file;
use crate::settings::{Encryption, MailSpec};
use crate::text::harmless;

/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 150;

/// Sending is a dialogue of a dozen steps, each within the time of one: a server that is slow at
/// each of them does not hold the queue for longer than so many.
const STEPS: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct MailChannel {
    spec: MailSpec,
    timeout: Duration,
}

impl MailChannel {
    /// Mail by this server; one step of the dialogue takes no longer than `timeout`.
    pub fn new(spec: MailSpec, timeout: Duration) -> Self {
        Self { spec, timeout }
    }

    /// Made anew each time: whoever changes the password or the authority need not restart
    /// anything.
    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, ChannelFault> {
        let spec = &self.spec;
        let tls = match spec.encryption {
            Encryption::StartTls => Tls::Required(self.parameters()?),
            Encryption::Tls => Tls::Wrapper(self.parameters()?),
            Encryption::None => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&spec.host)
            .port(spec.port)
            .tls(tls)
            .timeout(Some(self.timeout));
        let Some((user, password_file)) = &spec.sign_in else {
            return Ok(builder.build());
        };
        let password = secret_file::read(password_file)?;
        let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
        Ok(builder.credentials(credentials).build())
    }

    fn parameters(&self) -> Result<TlsParameters, ChannelFault> {
        let builder = TlsParameters::builder(self.spec.host.clone());
        let builder = match &self.spec.ca_file {
            None => builder,
            Some(path) => builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(authority(path)?),
        };
        builder.build_rustls().map_err(|error| unusable(&error))
    }

    fn mail(&self, message: &Message) -> Result<Mail, ChannelFault> {
        let subject = format!("[keywheel] {}", message.title);
        let domain = self.spec.from.email.domain();
        let mut mail = Mail::builder()
            .from(self.spec.from.clone())
            .subject(harmless(&subject, LONGEST_SUBJECT))
            // The same whenever it is sent again.
            .message_id(Some(format!("<{}@{domain}>", message.id)))
            .date(message.at.into())
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.spec.to {
            mail = mail.to(to.clone());
        }
        mail.body(text(message)).map_err(|error| unusable(&error))
    }
}

#[async_trait]
impl Channel for MailChannel {
    async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        let mail = self.mail(message)?;
        let transport = self.transport()?;
        let sending = tokio::time::timeout(self.timeout * STEPS, transport.send(mail));
        match sending.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fault(&error)),
            Err(_) => Err(ChannelFault::TimedOut),
        }
    }
}

/// The body; its line breaks are ours alone.
fn text(message: &Message) -> String {
    let line = |text: &str| harmless(text, 2000);
    let mut lines = vec![
        line(&message.message),
        String::new(),
        format!("What to do: {}", line(&message.remedy)),
        String::new(),
    ];
    let facts = message.facts();
    lines.extend(
        facts
            .iter()
            .map(|(name, value)| format!("{name}: {}", line(value))),
    );
    lines.join("\r\n") + "\r\n"
}

/// SMTP's 5xx after the greeting speaks of a recipient, of who sends, or of the message; what it
/// speaks of can't be told from the number, so that all of them are taken for the channel's own.
fn fault(error: &Error) -> ChannelFault {
    if error.is_timeout() {
        return ChannelFault::TimedOut;
    }
    if let Some(code) = error.status() {
        return ChannelFault::Answered {
            status: u16::from(code),
            word: None,
            wait: None,
            of_message: false,
        };
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    ChannelFault::Unreachable {
        detail: harmless(&cause.to_string(), 160),
    }
}

fn authority(path: &Path) -> Result<Certificate, ChannelFault> {
    let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
    Certificate::from_pem(&pem).map_err(|error| unusable(&error))
}

fn unusable(error: &dyn std::error::Error) -> ChannelFault {
    ChannelFault::Unusable {
        detail: harmless(&error.to_string(), 160),
    }
}

/// Keeps robots from answering it (RFC 3834).
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
