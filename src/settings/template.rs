//! The settings file that `init` writes.

use std::path::Path;

use chrono_tz::Tz;

/// A commented settings file with `timezone` as the zone of the connections. `state_dir`, an
/// absolute path, is where the database goes; `None`: where it goes anyway.
pub fn template(state_dir: Option<&Path>, timezone: Tz) -> String {
    let path = state_dir.map(|folder| folder.join("keywheel.db"));
    let path = match path {
        Some(path) => format!("path = {}", quoted(&path.to_string_lossy())),
        None => "# path = \"state/keywheel.db\"     # under /etc: /var/lib/keywheel".to_owned(),
    };
    TEMPLATE
        .replace("{path}", &path)
        .replace("{timezone}", timezone.name())
}

/// The host's zone, UTC where it can't be told.
pub fn host_timezone() -> Tz {
    iana_time_zone::get_timezone()
        .ok()
        .and_then(|name| name.parse().ok())
        .unwrap_or(Tz::UTC)
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

const TEMPLATE: &str = r#"# Settings of Keywheel. Relative paths start at this file's folder; what is commented out shows
# what holds without it. Secrets don't belong here: name the files that hold them.

[store]
{path}

[master_key]                          # seals the secrets in the store; keep a copy elsewhere
# file = "master.key"                 # or: credential = "master-key", or: env = "KEYWHEEL_MASTER_KEY"

[defaults]                            # for connections that do not say
# identity = "self"                   # sign in with the connection's own secret
# interval_days = 30
rotate_at = "10:00"                   # when people are there
timezone = "{timezone}"
only = ["mon-thu"]                    # weekdays on which a rotation may start
jitter = "30m"                        # a stable spread, so that not all start at once
# hours = "09:00-16:00"
# blackouts = [{ from = "2026-12-20", until = "2027-01-06" }]
# overlap = "7d"                      # at most half the interval; or "0s", or "next-rotation"
# lifetime_days = 67                  # the smaller of 2 x interval + 7 and interval + 90
# renew_before = "14d"                # the guard before expiry, at most a third of the life
# on_limit = "block"                  # or "revoke-previous", where the application is full

# [verification]                      # how a new secret is proved
# successes = 5                       # fresh tokens in a row
# spacing = "3s"
# timeout = "20m"                     # one pass
# give_up = "24h"                     # then the new secret is abandoned

# [graph]
# mutation_spacing = "10s"            # between two changes of one application
# absence_window = "1m"
# request_timeout = "30s"

# [service]                           # `keywheel run`
# listen = "127.0.0.1:9847"           # health, metrics and a page; or "unix:/run/keywheel/http", "off"
# concurrency = 1000                  # connections that are worked on at once
# reconcile_every = "6h"              # how often each is compared with Entra

# [[cloud]]                           # beside public, usgov, dod and china
# name = "lab"
# login = "https://localhost:8443"
# graph = "https://localhost:8443"
# ca_file = "ca.pem"

# [[identity]]                        # beside self: another application that owns the connections'
# name = "rotator"
# kind = "client-secret"
# tenant_id = "00000000-0000-0000-0000-000000000000"
# client_id = "00000000-0000-0000-0000-000000000000"
# secret_file = "rotator.secret"
# cloud = "public"

# [[notify]]                          # who is told: webhook, slack, teams or mail
# name = "operations"
# kind = "mail"
# host = "mail.example.com"           # 587 with starttls; username and password_file go together
# from = "keywheel@example.com"
# to = ["operations@example.com"]
"#;
