//! Replicas that lag.

use std::time::Duration;

use keywheel::sandbox::{Lag, NewApplication, Options, Replication, Routing, Rules};
use reqwest::StatusCode;

use crate::support::Bench;

const FIVE: Duration = Duration::from_secs(5);
const NINE: Duration = Duration::from_secs(9);

fn two_replicas(reads: Lag, tokens: Lag) -> Options {
    Options {
        replication: Replication {
            count: 2,
            reads,
            tokens,
            routing: Routing::RoundRobin,
        },
        ..Options::default()
    }
}

#[tokio::test]
async fn a1_a2_a_new_secret_signs_in_on_one_replica_before_the_other() {
    let lag = Lag::Each(vec![FIVE, NINE]);
    let bench = Bench::with(two_replicas(Lag::None, lag)).await;
    let token = bench.token().await;
    let (_, added) = bench.add(&token, "new").await;
    let secret = added["secretText"].as_str().unwrap().into();
    let sign_in = || bench.sandbox.sign_in(bench.app.client_id, &secret);

    assert!(!bench.signs_in(&secret).await && !bench.signs_in(&secret).await);
    assert!(sign_in().primary && !sign_in().anywhere);
    bench.clock.advance(FIVE);
    let [first, second] = [bench.signs_in(&secret).await, bench.signs_in(&secret).await];
    assert_ne!(first, second, "it oscillates");
    assert!(sign_in().anywhere && !sign_in().everywhere);
    bench.clock.advance(NINE - FIVE);
    assert!(bench.signs_in(&secret).await && bench.signs_in(&secret).await);
    assert!(sign_in().everywhere);
}

#[tokio::test]
async fn a7_reads_oscillate_until_all_replicas_have_the_write() {
    let lag = Lag::Each(vec![Duration::ZERO, NINE]);
    let bench = Bench::with(two_replicas(lag, Lag::None)).await;
    let token = bench.token().await;
    bench.add(&token, "new").await;
    let [first, second] = [bench.names(&token).await, bench.names(&token).await];
    assert_eq!(first.len() + second.len(), 1);
    bench.sandbox.settle();
    assert_eq!(bench.names(&token).await, ["new"]);
    assert_eq!(bench.names(&token).await, ["new"]);
}

#[tokio::test]
async fn e4_a_removed_secret_is_listed_and_accepted_until_the_replicas_know() {
    let lag = Lag::Fixed(FIVE);
    let bench = Bench::with(two_replicas(lag.clone(), lag)).await;
    let token = bench.token().await;
    let old = &bench.app.keys[0];
    let (status, _) = bench.remove(&token, &old.key_id.to_string()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(bench.sandbox.keys(bench.app.client_id).is_empty());
    assert!(bench.signs_in(&old.value).await);
    let path = format!("applications/{}", bench.app.object_id);
    let listed = async || bench.get(&token, &path).await.1["passwordCredentials"].clone();
    assert_eq!(listed().await.as_array().unwrap().len(), 1);
    bench.clock.advance(FIVE);
    assert!(!bench.signs_in(&old.value).await);
    assert_eq!(listed().await.as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn b4_a_fresh_application_is_not_found_on_replicas() {
    let lag = Lag::Fixed(FIVE);
    let bench = Bench::with(two_replicas(lag.clone(), lag)).await;
    let token = bench.token().await;
    let fresh = bench.sandbox.add_application(NewApplication {
        fresh: true,
        ..NewApplication::new(bench.tenant_id, "fresh")
    });
    let path = format!("applications/{}", fresh.object_id);
    assert_eq!(bench.get(&token, &path).await.0, StatusCode::NOT_FOUND);
    bench.clock.advance(FIVE);
    assert_eq!(bench.get(&token, &path).await.0, StatusCode::OK);
}

#[tokio::test]
async fn e2_a_young_key_can_be_unknown_to_remove_password() {
    let mut options = two_replicas(Lag::Fixed(FIVE), Lag::None);
    options.rules = Rules {
        young_keys_unknown: true,
        ..Rules::default()
    };
    let bench = Bench::with(options).await;
    let token = bench.token().await;
    let (_, added) = bench.add(&token, "new").await;
    let key_id = added["keyId"].as_str().unwrap();
    let (status, body) = bench.remove(&token, key_id).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("No password credential found with keyId"));
    bench.clock.advance(FIVE);
    assert_eq!(bench.remove(&token, key_id).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn g6_two_changes_too_close_to_each_other_conflict() {
    let bench = Bench::new().await;
    bench
        .sandbox
        .change_rules(|rules| rules.mutation_gap = FIVE);
    let token = bench.token().await;
    assert_eq!(bench.add(&token, "one").await.0, StatusCode::OK);
    let (status, body) = bench.add(&token, "two").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["error"]["code"], "Directory_ConcurrencyViolation");
    bench.clock.advance(FIVE);
    assert_eq!(bench.add(&token, "two").await.0, StatusCode::OK);
}
