//! An incoming webhook of Slack: blocks of plain text, in which nothing is a link, a mention or a
//! format. Only the line of the notification is mrkdwn, and there it is escaped.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::channel::{Channel, ChannelFault};
use super::http::Post;
use super::message::Message;
use crate::settings::Address;
use crate::text::harmless;

/// Slack's own limits, in characters.
const LONGEST_HEADER: usize = 150;
const LONGEST_TEXT: usize = 2900;

/// See the module.
#[derive(Debug)]
pub struct Slack {
    post: Post,
}

impl Slack {
    /// The webhook whose address is in `url_file`; one message takes no longer than `timeout`.
    pub fn new(url_file: PathBuf, ca_file: Option<PathBuf>, timeout: Duration) -> Self {
        Self {
            post: Post::new(Address::File(url_file), ca_file, timeout),
        }
    }
}

#[async_trait]
impl Channel for Slack {
    async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        let body = payload(message).to_string().into_bytes();
        let taken = self.post.json(body, HeaderMap::new()).await?;
        // It says `ok`, and nothing else is it.
        match taken.body.trim_ascii() {
            b"ok" => Ok(()),
            _ => Err(ChannelFault::Nonsense),
        }
    }
}

/// What is posted for a message.
pub fn payload(message: &Message) -> Value {
    let facts = message.facts();
    let lines: Vec<String> = facts
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    json!({
        "text": mrkdwn(&message.title),
        "blocks": [
            {"type": "header", "text": plain(&message.title, LONGEST_HEADER)},
            {"type": "section", "text": plain(&message.message, LONGEST_TEXT)},
            {"type": "section", "text": plain(&format!("What to do: {}", message.remedy), LONGEST_TEXT)},
            {"type": "context", "elements": [lines_of(&lines)]},
        ],
    })
}

fn plain(text: &str, longest: usize) -> Value {
    json!({"type": "plain_text", "text": harmless(text, longest), "emoji": false})
}

/// The line breaks are ours: each line has been made harmless.
fn lines_of(lines: &[String]) -> Value {
    let lines: Vec<String> = lines.iter().map(|line| harmless(line, 250)).collect();
    json!({"type": "plain_text", "text": lines.join("\n"), "emoji": false})
}

/// `text` as mrkdwn that shows it: `&`, `<` and `>` are all that can begin a link or a mention; for
/// the marks of a format there is no escape, so they give way to signs that look like them.
pub fn mrkdwn(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in harmless(text, LONGEST_TEXT).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '*' => escaped.push('\u{2217}'),
            '`' => escaped.push('\u{2019}'),
            '~' => escaped.push('\u{223c}'),
            '_' => escaped.push('\u{ff3f}'),
            '@' => escaped.push('\u{ff20}'),
            c => escaped.push(c),
        }
    }
    escaped
}
