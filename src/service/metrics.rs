//! Prometheus metrics. Times are absolute timestamps: an alert subtracts `time()` itself.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::board::Board;
use super::exposition::{Exposition, Kind};
use super::tally::COUNTED;
use super::work::ENDS;
use crate::store::StoreFault;
use crate::view::ConnectionView;

/// With more connections than this their own series are left out: a server that stores them all
/// would be the larger system.
const MOST_SERIES: u64 = 10_000;

/// A piece is sent on once it is this long.
const PIECE: usize = 32 * 1024;

/// Writes everything, in pieces. A reader that has gone away ends it. What needs the store comes
/// after what does not, and whether it could be read is said too: a scrape that lacks something
/// must not look whole (P7).
pub async fn write(board: &Board, pieces: &mpsc::Sender<Bytes>) -> Result<(), StoreFault> {
    let mut out = Writer {
        text: Exposition::default(),
        pieces,
    };
    process(board, &mut out.text);
    out.flush().await;
    let read = stored(board, &mut out).await;
    let name = "keywheel_scrape_whole";
    let help = "0 where the store could not be read, so that series are missing.";
    out.text.family(name, Kind::Gauge, help);
    out.text.sample(name, &[], u8::from(read.is_ok()));
    out.flush().await;
    read
}

/// What the store knows.
async fn stored(board: &Board, out: &mut Writer<'_>) -> Result<(), StoreFault> {
    channels(board, &mut out.text).await?;
    if board.vital.connection_count() <= MOST_SERIES {
        let at_most = usize::try_from(MOST_SERIES).unwrap_or(usize::MAX);
        let shown = board.views(None, at_most).await?;
        let name = "keywheel_connection_lacks_settings";
        let help = "1 for a connection that the settings lack something for: it is not worked on.";
        out.text.family(name, Kind::Gauge, help);
        for connection in &shown.lacking {
            out.text
                .sample(name, &[("connection", connection.as_str())], 1);
        }
        connections(&shown.views, out).await;
    }
    Ok(())
}

/// How the service itself is.
fn process(board: &Board, out: &mut Exposition) {
    let (vital, now) = (&board.vital, board.clock.now());
    let version = env!("CARGO_PKG_VERSION");
    out.family("keywheel_build_info", Kind::Gauge, "The version that runs.");
    out.sample("keywheel_build_info", &[("version", version)], 1);
    let ready = u8::from(vital.ready(now).is_ok());
    let looked_at = vital.looked_at().map_or(0, |at| at.timestamp());
    let lateness = vital.lateness(now).as_secs();
    for (name, help, value) in [
        (
            "keywheel_ready",
            "Whether it does what it is there for.",
            u64::from(ready),
        ),
        (
            "keywheel_last_look_timestamp_seconds",
            "When what is due was last looked for.",
            looked_at.unsigned_abs(),
        ),
        (
            "keywheel_connections",
            "Connections that are kept.",
            vital.connection_count(),
        ),
        (
            "keywheel_passes_under_way",
            "Connections that are worked on.",
            vital.under_way(),
        ),
        (
            "keywheel_queue_depth",
            "Connections that are due and wait for their turn.",
            vital.waiting(),
        ),
        (
            "keywheel_lateness_seconds",
            "For how long what is due first has been due.",
            lateness,
        ),
    ] {
        out.family(name, Kind::Gauge, help);
        out.sample(name, &[], value);
    }
    let name = "keywheel_passes_total";
    out.family(
        name,
        Kind::Counter,
        "Passes over a connection, by how they ended.",
    );
    for (how, word) in ENDS {
        out.sample(name, &[("result", word)], vital.passes(how));
    }
    let name = "keywheel_calls_total";
    out.family(
        name,
        Kind::Counter,
        "Calls to Entra and Graph, by how they ended.",
    );
    for (call, result, count) in board.calls.counts() {
        out.sample(name, &[("call", call), ("result", result)], count);
    }
    let name = "keywheel_steps_total";
    out.family(name, Kind::Counter, "Steps of rotations, by what they did.");
    for (what, word) in COUNTED {
        out.sample(name, &[("step", word)], board.tally.count(what));
    }
}

/// How the channels of notifications are.
async fn channels(board: &Board, out: &mut Exposition) -> Result<(), StoreFault> {
    let settings = board.settings();
    let mut outboxes = Vec::new();
    for channel in &settings.channels {
        let outbox = board
            .store
            .outbox(&channel.name, board.clock.now(), 0)
            .await?;
        outboxes.push((channel.name.as_str(), outbox));
    }
    let name = "keywheel_notices_waiting";
    out.family(
        name,
        Kind::Gauge,
        "Messages that a channel has not taken yet.",
    );
    for (channel, outbox) in &outboxes {
        out.sample(name, &[("channel", channel)], outbox.waiting);
    }
    let name = "keywheel_channel_failures";
    out.family(
        name,
        Kind::Gauge,
        "How often in a row a channel has failed.",
    );
    for (channel, outbox) in &outboxes {
        out.sample(name, &[("channel", channel)], outbox.failures);
    }
    Ok(())
}

/// Writes the samples of one connection.
type Sample = fn(&ConnectionView, &mut Exposition);

/// How each connection is.
async fn connections(views: &[ConnectionView], out: &mut Writer<'_>) {
    let families: [(&str, &str, Sample); 7] = [
        (
            "keywheel_credential_expiration_timestamp_seconds",
            "When the current secret expires; left out where it never does.",
            |view, out| {
                let Some(current) = &view.current else { return };
                let Some(expires_at) = current.expires_at else {
                    return;
                };
                let key_id = current.key_id.to_string();
                let labels = [("connection", view.name.as_str()), ("key_id", &key_id)];
                let name = "keywheel_credential_expiration_timestamp_seconds";
                out.sample(name, &labels, expires_at.timestamp());
            },
        ),
        (
            "keywheel_safe_until_timestamp_seconds",
            "When the last secret that consumers hold expires; left out where it never does.",
            |view, out| {
                let Some(at) = view.safe_until else { return };
                let labels = [("connection", view.name.as_str())];
                out.sample(
                    "keywheel_safe_until_timestamp_seconds",
                    &labels,
                    at.timestamp(),
                );
            },
        ),
        (
            "keywheel_rotation_due_timestamp_seconds",
            "When the next rotation is due: in the past, it should already have been.",
            |view, out| {
                let labels = [("connection", view.name.as_str())];
                let at = view.next_rotation_at.timestamp();
                out.sample("keywheel_rotation_due_timestamp_seconds", &labels, at);
            },
        ),
        (
            "keywheel_rotation_last_success_timestamp_seconds",
            "When the current secret was made; left out where it was adopted.",
            |view, out| {
                let Some(at) = view.rotated_at else { return };
                let labels = [("connection", view.name.as_str())];
                let name = "keywheel_rotation_last_success_timestamp_seconds";
                out.sample(name, &labels, at.timestamp());
            },
        ),
        (
            "keywheel_connection_health",
            "1 for the health that the connection has.",
            |view, out| {
                let labels = [
                    ("connection", view.name.as_str()),
                    ("health", view.health.name()),
                ];
                out.sample("keywheel_connection_health", &labels, 1);
            },
        ),
        (
            "keywheel_delivery_pending",
            "1 where a destination does not hold the current secret.",
            |view, out| {
                for destination in &view.destinations {
                    let labels = [
                        ("connection", view.name.as_str()),
                        ("destination", destination.name.as_str()),
                    ];
                    let pending = u8::from(matches!(destination.state, "pending" | "retrying"));
                    out.sample("keywheel_delivery_pending", &labels, pending);
                }
            },
        ),
        (
            "keywheel_removals_pending",
            "Secrets that are to go and have not gone.",
            |view, out| {
                let labels = [("connection", view.name.as_str())];
                out.sample("keywheel_removals_pending", &labels, view.removals);
            },
        ),
    ];
    for (name, help, sample) in families {
        out.text.family(name, Kind::Gauge, help);
        for view in views {
            sample(view, &mut out.text);
            if out.text.len() >= PIECE && !out.flush().await {
                return;
            }
        }
    }
}

struct Writer<'a> {
    text: Exposition,
    pieces: &'a mpsc::Sender<Bytes>,
}

impl Writer<'_> {
    /// `false`: nobody reads it any more.
    async fn flush(&mut self) -> bool {
        let piece = Bytes::from(self.text.take());
        self.pieces.send(piece).await.is_ok()
    }
}
