//! `[[notify]]`: who is told what happens, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::read::is_loopback;
use super::reader::{Table, list, number, text};
use super::source;
use crate::connection::field;
use crate::wording::{hint, quoted};

/// `[[notify]]`: one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifySpec {
    /// How messages, logs and `notify test` call it. What is queued for it is kept under this name.
    pub name: String,
    /// Where it leads.
    pub kind: NotifyKind,
    /// What it is told.
    pub events: Vec<NotifyEvent>,
    /// It is told of connections alone that have all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// The kinds of channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyKind {
    /// JSON to an address, signed.
    Webhook {
        /// Where to.
        address: Address,
        /// What the signature is made with.
        secret_file: PathBuf,
        /// The only authority that is trusted for it.
        ca_file: Option<PathBuf>,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Holds its address, which is a secret.
        url_file: PathBuf,
        /// The only authority that is trusted for it.
        ca_file: Option<PathBuf>,
    },
    /// A workflow of Microsoft Teams that posts what it receives.
    Teams {
        /// Holds its address, which is a secret.
        url_file: PathBuf,
        /// The only authority that is trusted for it.
        ca_file: Option<PathBuf>,
    },
    /// E-mail over SMTP.
    Mail(MailSpec),
}

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// As the settings say.
    Url(Url),
    /// In a file, as it is a secret.
    File(PathBuf),
}

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSpec {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub encryption: Encryption,
    /// Whom to sign in as, and the file with the password.
    pub sign_in: Option<(String, PathBuf)>,
    /// Who writes.
    pub from: Mailbox,
    /// Who reads.
    pub to: Vec<Mailbox>,
    /// The only authority that is trusted for it.
    pub ca_file: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Begun in the clear; nothing is sent before it is encrypted.
    StartTls,
    /// From the first byte.
    Tls,
    /// Not at all: on loopback alone.
    None,
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyEvent {
    /// Something failed, and is tried again.
    Failing,
    /// It is over.
    Recovered,
    /// A person must act.
    Blocked,
    /// The rotation that was due has not been made.
    Overdue,
    /// A secret comes to its end although it is managed.
    Expiring,
    /// Entra or a destination holds something else than the store says.
    Drift,
    /// A secret of ours was found whose value nobody holds.
    Orphan,
    /// A new secret is current.
    Rotated,
    /// `notify test`; no setting keeps it away.
    Test,
}

impl NotifyEvent {
    /// What can be chosen.
    const ALL: [Self; 8] = [
        Self::Failing,
        Self::Recovered,
        Self::Blocked,
        Self::Overdue,
        Self::Expiring,
        Self::Drift,
        Self::Orphan,
        Self::Rotated,
    ];

    /// As settings and messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Recovered => "recovered",
            Self::Blocked => "blocked",
            Self::Overdue => "overdue",
            Self::Expiring => "expiring",
            Self::Drift => "drift",
            Self::Orphan => "orphan",
            Self::Rotated => "rotated",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for NotifyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl NotifySpec {
    /// Whether this channel is told of such an event of a connection with these labels.
    pub fn wants(&self, event: NotifyEvent, labels: &BTreeMap<String, String>) -> bool {
        let event = event == NotifyEvent::Test || self.events.contains(&event);
        let mut filter = self.labels.iter();
        event && filter.all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl NotifyKind {
    /// As `kind = "…"` spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Teams { .. } => "teams",
            Self::Mail(_) => "mail",
        }
    }
}

/// The address of a webhook: HTTPS, or plain HTTP on loopback. What is wrong with it is said without
/// repeating it, as it may be a secret.
pub fn hook_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(
        |_| "this is not an address; write it as https://host/path (what it is, is not shown)",
    )?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address holds no user and no password here".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => Ok(url),
        "http" => {
            Err("this address is not encrypted; use https (plain http on loopback alone)".into())
        }
        _ => Err("this is not an https address".into()),
    }
}

/// Reads one table; `above` are the channels before it.
pub(super) fn read(
    mut table: Table<'_>,
    folder: &Path,
    above: &[NotifySpec],
) -> Option<NotifySpec> {
    let name = table.required("name", text(|name| field::name("channel", name)));
    if let Some(name) = name.as_deref()
        && above.iter().any(|other| other.name == name)
    {
        table.fault("name", format!("a channel {name} is already above"));
    }
    let labels = table.texts("labels", field::label_key, field::label_value);
    let events = table.value("events", list(events)).unwrap_or_else(|| {
        let mut all = NotifyEvent::ALL.to_vec();
        all.retain(|event| *event != NotifyEvent::Rotated);
        all
    });
    // The other keys depend on the kind: without it nothing can be said of them.
    let kind = match table.required("kind", text(kind))? {
        "webhook" => webhook(&mut table, folder),
        "slack" => hook(&mut table, folder)
            .map(|(url_file, ca_file)| NotifyKind::Slack { url_file, ca_file }),
        "teams" => hook(&mut table, folder)
            .map(|(url_file, ca_file)| NotifyKind::Teams { url_file, ca_file }),
        _ => mail(&mut table, folder).map(NotifyKind::Mail),
    };
    table.end();
    Some(NotifySpec {
        name: name?,
        kind: kind?,
        events,
        labels,
    })
}

fn kind(kind: &str) -> Result<&'static str, String> {
    const KINDS: [&str; 4] = ["webhook", "slack", "teams", "mail"];
    let known = KINDS.into_iter().find(|known| *known == kind);
    known.ok_or_else(|| {
        format!(
            "{} is not a kind of channel{}",
            quoted(kind),
            hint(kind, KINDS)
        )
    })
}

fn events(names: Vec<String>) -> Result<Vec<NotifyEvent>, String> {
    if names.is_empty() {
        return Err(
            "a channel that is told nothing is none; name an event, or leave it out".into(),
        );
    }
    let event = |name: String| {
        let found = NotifyEvent::ALL
            .into_iter()
            .find(|event| event.name() == name);
        found.ok_or_else(|| {
            let known = NotifyEvent::ALL.map(NotifyEvent::name);
            format!("{} is not an event{}", quoted(&name), hint(&name, known))
        })
    };
    names.into_iter().map(event).collect()
}

fn webhook(table: &mut Table<'_>, folder: &Path) -> Option<NotifyKind> {
    let secret_file = table.required("secret_file", text(|path| private(folder, path)));
    let ca_file = ca_file(table, folder);
    let url = table.value("url", text(hook_url)).map(Address::Url);
    let file = table.value("url_file", text(|path| private(folder, path)));
    let address = match (table.has("url"), table.has("url_file")) {
        (true, false) => url,
        (false, true) => file.map(Address::File),
        (true, true) => {
            table.fault("url_file", "one address is enough; keep url or url_file");
            None
        }
        (false, false) => {
            table.fault(
                "",
                "`url` is missing here, or `url_file` where it is secret",
            );
            None
        }
    };
    Some(NotifyKind::Webhook {
        address: address?,
        secret_file: secret_file?,
        ca_file,
    })
}

fn hook(table: &mut Table<'_>, folder: &Path) -> Option<(PathBuf, Option<PathBuf>)> {
    let url_file = table.required("url_file", text(|path| private(folder, path)));
    let ca_file = ca_file(table, folder);
    Some((url_file?, ca_file))
}

fn mail(table: &mut Table<'_>, folder: &Path) -> Option<MailSpec> {
    let host = table.required("host", text(host));
    let encryption = table
        .value("encryption", text(encryption))
        .unwrap_or(Encryption::StartTls);
    let port = table.value("port", number(1..=65_535));
    let port = port.and_then(|port| u16::try_from(port).ok());
    if encryption == Encryption::None && !host.as_deref().is_none_or(is_loopback) {
        table.fault(
            "encryption",
            "mail is sent in the clear to this host alone; use starttls or tls",
        );
    }
    let username = table.value("username", text(|name| line("username", name)));
    let password_file = table.value("password_file", text(|path| private(folder, path)));
    if table.has("username") != table.has("password_file") {
        table.fault_at_first_of(
            &["username", "password_file"],
            "username and password_file go together".into(),
        );
    }
    let from = table.required("from", text(mailbox));
    let to = table.required("to", list(recipients));
    let ca_file = ca_file(table, folder);
    Some(MailSpec {
        host: host?,
        port: port.unwrap_or(match encryption {
            Encryption::StartTls => 587,
            Encryption::Tls => 465,
            Encryption::None => 25,
        }),
        encryption,
        sign_in: username.zip(password_file),
        from: from?,
        to: to?,
        ca_file,
    })
}

fn encryption(name: &str) -> Result<Encryption, String> {
    match name {
        "starttls" => Ok(Encryption::StartTls),
        "tls" => Ok(Encryption::Tls),
        "none" => Ok(Encryption::None),
        other => Err(format!(
            "{} is no way to protect mail{}",
            quoted(other),
            hint(other, ["starttls", "tls", "none"])
        )),
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not an address; write it as keywheel@example.com or Keywheel \
             <keywheel@example.com>",
            quoted(text)
        )
    })
}

fn recipients(texts: Vec<String>) -> Result<Vec<Mailbox>, String> {
    if texts.is_empty() {
        return Err("nobody would read it; name an address".into());
    }
    texts.into_iter().map(|text| mailbox(&text)).collect()
}

fn host(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{} is no host; write a name such as mail.example.com, the port apart",
            quoted(text)
        ))
    }
}

fn line(what: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(char::is_control) {
        Err(format!("this is no {what}"))
    } else {
        Ok(text.to_owned())
    }
}

fn private(folder: &Path, path: &str) -> Result<PathBuf, String> {
    let file = source::path(folder, path)?;
    source::check_private(&file)?;
    Ok(file)
}

fn ca_file(table: &mut Table<'_>, folder: &Path) -> Option<PathBuf> {
    table.value(
        "ca_file",
        text(|path| {
            let file = source::path(folder, path)?;
            source::check_readable(&file)?;
            Ok::<_, String>(file)
        }),
    )
}
