//! What Slack and Teams are sent, and that text stays text in it (I2).

use keywheel::notify::{Message, slack, teams};
use serde_json::{Value, json};

use crate::fixture::hostile;
use crate::world::start;

#[test]
fn a_slack_message_is_blocks_of_plain_text() {
    let message = Message::test(start());
    let expected = json!({
        "text": "Keywheel: a test message",
        "blocks": [
            {"type": "header", "text":
                {"type": "plain_text", "text": "Keywheel: a test message", "emoji": false}},
            {"type": "section", "text": {"type": "plain_text", "emoji": false,
                "text": "`keywheel notify test` was called, and this channel works."}},
            {"type": "section", "text":
                {"type": "plain_text", "text": "What to do: nothing", "emoji": false}},
            {"type": "context", "elements": [{"type": "plain_text", "emoji": false,
                "text": format!("Event: test\nMessage ID: {}", message.id)}]},
        ],
    });
    assert_eq!(slack::payload(&message), expected);
}

#[test]
fn a_teams_card_is_made_of_text_runs() {
    let card = teams::payload(&Message::test(start()));
    let content = &card["attachments"][0];
    assert_eq!(
        content["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    let content = &content["content"];
    assert_eq!(
        (&content["type"], &content["version"]),
        (&json!("AdaptiveCard"), &json!("1.4"))
    );
    let title = json!({"type": "TextRun", "text": "Keywheel: a test message", "weight": "bolder",
                       "size": "large", "color": "accent"});
    assert_eq!(
        content["body"][0],
        json!({"type": "RichTextBlock", "inlines": [title]})
    );
}

/// Every string of a document with the type of the object that it is in.
fn strings(value: &Value, kind: &str, all: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => all.push((kind.to_owned(), text.clone())),
        Value::Array(items) => items.iter().for_each(|item| strings(item, kind, all)),
        Value::Object(entries) => {
            let kind = value["type"].as_str().unwrap_or(kind);
            entries.values().for_each(|entry| strings(entry, kind, all));
        }
        _ => {}
    }
}

#[test]
fn i2_what_others_wrote_is_text_and_nothing_else() {
    for payload in [slack::payload(&hostile()), teams::payload(&hostile())] {
        let mut all = Vec::new();
        strings(&payload, "", &mut all);
        assert!(all.iter().any(|(_, text)| text.contains("evil.example")));
        for (kind, text) in all {
            let is_plain = matches!(kind.as_str(), "plain_text" | "TextRun");
            for mark in ["<!channel>", "**bold**", "<https:", "<script>"] {
                assert!(is_plain || !text.contains(mark), "{kind}: {text}");
            }
            assert!(text.chars().count() <= 3000, "{kind}: {} long", text.len());
            let own_breaks = kind == "plain_text" && text.starts_with("Event: ");
            let odd = |c: char| (c.is_control() && !(c == '\n' && own_breaks)) || c == '\u{202e}';
            assert!(!text.contains(odd), "{kind}: {text:?}");
        }
    }
}

#[test]
fn i2_escapes_show_what_they_escape() {
    assert_eq!(
        slack::mrkdwn("<!here> a & b <https://x|y>\n"),
        "&lt;!here&gt; a &amp; b &lt;https://x|y&gt; "
    );
    assert!(!slack::mrkdwn("*a* _b_ ~c~ `d` @e").contains(['*', '_', '~', '`', '@']));
    assert_eq!(teams::markdown("[x](y) *z*"), "\\[x\\]\\(y\\) \\*z\\*");
}
