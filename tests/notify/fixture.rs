//! Channels and messages for the tests.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keywheel::clock::{Clock, VirtualClock};
use keywheel::notify::{Channel, Message, TIMEOUT};
use keywheel::settings::Settings;

use crate::world::start;

pub const SECRET: &str = "hook-secret-canary-8Q~x";

/// A file that only its owner can read.
pub fn private(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// The settings in a folder of their own.
pub fn settings(folder: &Path, text: &str) -> Result<Settings, String> {
    let file = folder.join("keywheel.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    Settings::load(&file).map_err(|faults| faults.to_string())
}

/// The channel that `[[notify]]` with these lines makes.
pub fn channel(folder: &Path, lines: &str) -> Arc<dyn Channel> {
    channel_within(folder, lines, TIMEOUT)
}

/// As [`channel`], with this time for a message.
pub fn channel_within(folder: &Path, lines: &str, timeout: Duration) -> Arc<dyn Channel> {
    private(folder, "secret", SECRET);
    let settings = settings(folder, &format!("[[notify]]\nname = \"x\"\n{lines}\n")).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new(start()));
    keywheel::notify::open(&settings.channels[0].kind, &clock, timeout)
}

/// The lines of a webhook at `url`.
pub fn webhook(url: &str) -> String {
    format!("kind = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"secret\"")
}

/// A message in which everything that others wrote wants to be more than text.
pub fn hostile() -> Message {
    let text = "**bold** <!channel> <https://evil.example|ok> [x](https://evil.example) `a` \
                \u{1b}[31mred\u{202e}\r\nBcc: all@example.com\r\n\r\n.\r\n<script>@here</script>";
    Message {
        title: format!("crm is blocked: {text}"),
        message: format!("{text}{}", "y".repeat(10_000)),
        remedy: text.to_owned(),
        cause: text.to_owned(),
        ..Message::test(start())
    }
}
