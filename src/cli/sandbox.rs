//! `sandbox`: an Entra tenant to try against, until it is interrupted.

use super::args;
use super::exit::{Complaint, Exit};
use super::output::{Output, table};
use crate::sandbox::{Lag, Offer, Opening, open};

pub(super) async fn run(args: args::Sandbox, output: Output) -> Result<Exit, Complaint> {
    let opening = Opening {
        listen: args.listen,
        tls: args.tls_cert.zip(args.tls_key),
        applications: args.apps,
        lag: args.lag.map_or(Lag::realistic(), |lag| Lag::Fixed(lag.0)),
        latency: args.latency.0,
    };
    let (sandbox, offer) = open(opening)
        .await
        .map_err(|error| Complaint::usage("sandbox", error.to_string()))?;
    output.data(&offer, || adopt(&offer));
    output.note("the sandbox runs until you press Ctrl-C; its secrets open nothing else");
    until_told().await;
    sandbox.stop().await;
    Ok(Exit::Done)
}

/// What a person needs to adopt the applications.
fn adopt(offer: &Offer) -> String {
    let mut applications =
        table(&["client id", "key id", "secret", "permission"]).sparing(&["permission"]);
    for offered in &offer.applications {
        applications.add_row([
            offered.client_id.to_string(),
            offered.key_id.to_string(),
            secrecy::ExposeSecret::expose_secret(&offered.secret).to_owned(),
            offered.permission.to_owned(),
        ]);
    }
    format!(
        "tenant ID {}\n\nin keywheel.toml:\n\n{}\n{applications}",
        offer.tenant_id, offer.cloud
    )
}

/// Waits for Ctrl-C, SIGTERM, or the end of the world.
async fn until_told() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
