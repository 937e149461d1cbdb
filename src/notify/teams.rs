//! A workflow of Microsoft Teams that posts the adaptive card it receives.
//!
//! What others wrote stands in text runs alone: unlike text blocks and facts they know no Markdown.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::channel::{Channel, ChannelFault};
use super::http::Post;
use super::message::Message;
use crate::settings::{Address, NotifyEvent};
use crate::text::harmless;

/// See the module.
#[derive(Debug)]
pub struct Teams {
    post: Post,
}

impl Teams {
    /// The workflow whose address is in `url_file`; one message takes no longer than `timeout`.
    pub fn new(url_file: PathBuf, ca_file: Option<PathBuf>, timeout: Duration) -> Self {
        Self {
            post: Post::new(Address::File(url_file), ca_file, timeout),
        }
    }
}

#[async_trait]
impl Channel for Teams {
    async fn send(&self, message: &Message) -> Result<(), ChannelFault> {
        let body = payload(message).to_string().into_bytes();
        let taken = self.post.json(body, HeaderMap::new()).await?;
        // Connectors of the old kind say yes to what they then fail to deliver; portals answer in
        // HTML.
        let body = String::from_utf8_lossy(&taken.body).to_lowercase();
        if body.contains("failed with error") || body.contains("<html") {
            return Err(ChannelFault::Nonsense);
        }
        Ok(())
    }
}

/// What is posted for a message.
pub fn payload(message: &Message) -> Value {
    let facts = message.facts();
    let facts: Vec<Value> = facts
        .iter()
        .map(|(name, value)| {
            let name = format!("{name}: ");
            line(&[
                run(&name, json!({"weight": "bolder"})),
                run(value, json!({})),
            ])
        })
        .collect();
    let title = json!({"weight": "bolder", "size": "large", "color": colour(message.event)});
    let remedy = [
        run("What to do: ", json!({"weight": "bolder"})),
        run(&message.remedy, json!({})),
    ];
    let mut body = vec![
        line(&[run(&message.title, title)]),
        line(&[run(&message.message, json!({}))]),
        line(&remedy),
    ];
    body.push(json!({"type": "Container", "separator": true, "items": facts}));
    json!({
        "type": "message",
        "summary": markdown(&message.title),
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body,
            },
        }],
    })
}

fn line(runs: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": runs})
}

fn run(text: &str, mut style: Value) -> Value {
    style["type"] = "TextRun".into();
    style["text"] = harmless(text, 2000).into();
    style
}

/// `text` as Markdown that shows it.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in harmless(text, 2000).chars() {
        if "\\`*_{}[]()<>#+-.!|~&:@".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn colour(event: NotifyEvent) -> &'static str {
    match event {
        NotifyEvent::Blocked | NotifyEvent::Overdue | NotifyEvent::Expiring => "attention",
        NotifyEvent::Failing | NotifyEvent::Drift | NotifyEvent::Orphan => "warning",
        NotifyEvent::Recovered | NotifyEvent::Rotated => "good",
        NotifyEvent::Test => "accent",
    }
}
