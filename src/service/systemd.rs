//! What systemd is told (`sd_notify(3)`), and the watchdog. Without systemd nothing is told.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Systemd {
    feed_every: Option<Duration>,
    fed_at: Option<DateTime<Utc>>,
    status: String,
}

impl Systemd {
    /// As the environment says.
    pub fn from_environment() -> Self {
        Self {
            // A third of it: one late feeding is no death.
            feed_every: sd_notify::watchdog_enabled().map(|limit| limit / 3),
            fed_at: None,
            status: String::new(),
        }
    }

    /// All that it takes to serve is there.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The settings are being read again; [`Systemd::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(since) => tell(&[NotifyState::Reloading, since]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// It is about to end, within `limit`.
    pub fn stopping(&self, limit: Duration) {
        let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
    }

    /// What `systemctl status` shows; told only where it has changed.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The loop that does the work has come round. Called often; told as often as is needed.
    pub fn alive(&mut self, now: DateTime<Utc>) {
        let Some(every) = self.feed_every else { return };
        // A clock that was set back must not starve it.
        let due = self
            .fed_at
            .is_none_or(|fed_at| now < fed_at || fed_at + every <= now);
        if due {
            tell(&[NotifyState::Watchdog]);
            self.fed_at = Some(now);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd can't be told how things stand");
    }
}
