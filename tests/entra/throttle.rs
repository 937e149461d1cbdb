use keywheel::entra::{Class, Operation};

use super::server::{Reply, answer, refusal, token_answer};
use super::*;

fn too_many(headers: &str) -> Reply {
    answer(
        429,
        headers,
        r#"{"error":{"code":"TooManyRequests","message":"Too many requests."}}"#,
    )
}

/// After a 429 the tenant waits, untouched, for exactly `seconds`.
async fn waits(headers: &str, seconds: u64) {
    let (bench, token) = Bench::signed_in([too_many(headers), token_answer()]).await;
    let fault = bench.add(&token).await.unwrap_err();
    let wait = Duration::from_secs(seconds);
    assert_eq!(fault.class(), Class::Throttled { wait }, "{headers}");
    assert!(fault.made_nothing());

    bench.clock.advance(wait - Duration::from_secs(6));
    let fault = bench.entra.prove(&app(), &secret()).await.unwrap_err();
    let left = Duration::from_secs(6);
    assert_eq!(fault.class(), Class::Throttled { wait: left }, "{headers}");
    assert_eq!(fault.status, None);
    assert_eq!(bench.server.requests().len(), 2, "no call in the meantime");

    bench.clock.advance(left);
    bench.entra.prove(&app(), &secret()).await.unwrap();
    let expected = at(NOW) + wait;
    assert_eq!(keywheel::clock::Clock::now(&*bench.clock), expected);
}

#[tokio::test]
async fn b3_retry_after_in_seconds() {
    waits("Retry-After: 17\r\n", 17).await;
}

#[tokio::test]
async fn b3_retry_after_as_http_date() {
    waits("Retry-After: Wed, 21 Oct 2015 07:30:00 GMT\r\n", 120).await;
}

#[tokio::test]
async fn b3_retry_after_as_http_date_counts_from_the_servers_clock() {
    let (bench, token) =
        Bench::signed_in([too_many("Retry-After: Wed, 21 Oct 2015 07:30:00 GMT\r\n")]).await;
    // This host is a day behind.
    bench.clock.set(at(NOW - 86_400));
    let fault = bench.add(&token).await.unwrap_err();
    let wait = Duration::from_secs(120);
    assert_eq!(fault.class(), Class::Throttled { wait });
}

#[tokio::test]
async fn b3_retry_after_missing() {
    waits("", 10).await;
    waits("Retry-After: soon\r\n", 10).await;
}

#[tokio::test]
async fn b3_retry_after_is_bounded() {
    waits("Retry-After: 99999999999999999999\r\n", 3600).await;
}

#[tokio::test]
async fn b3_plain_text_from_the_token_endpoint() {
    for (headers, seconds) in [("Retry-After: 30\r\n", 30), ("", 60)] {
        let bench = Bench::with([answer(429, headers, "Too Many Requests")]).await;
        let fault = bench.entra.prove(&app(), &secret()).await.unwrap_err();
        let wait = Duration::from_secs(seconds);
        assert_eq!(fault.class(), Class::Throttled { wait });
        assert_eq!(fault.during, Operation::Prove);
    }
}

#[tokio::test]
async fn b3_a_short_wait_is_slept_out_by_the_next_call() {
    let bench = Bench::with([answer(429, "Retry-After: 4\r\n", ""), token_answer()]).await;
    bench.entra.prove(&app(), &secret()).await.unwrap_err();
    bench.entra.prove(&app(), &secret()).await.unwrap();
    assert_eq!(keywheel::clock::Clock::now(&*bench.clock), at(NOW + 4));
}

#[tokio::test]
async fn b3_only_the_tenant_that_was_told_waits() {
    let bench = Bench::with([answer(429, "Retry-After: 60\r\n", ""), token_answer()]).await;
    bench.entra.prove(&app(), &secret()).await.unwrap_err();
    let mut other = app();
    other.tenant_id = OBJECT.parse().unwrap();
    bench.entra.prove(&other, &secret()).await.unwrap();
    assert_eq!(keywheel::clock::Clock::now(&*bench.clock), at(NOW));
}

#[tokio::test]
async fn b3_a_failing_server_is_no_throttle() {
    let (bench, token) = Bench::signed_in([
        refusal(503, "ServiceUnavailable", "Later."),
        refusal(503, "ServiceUnavailable", "Later."),
    ])
    .await;
    for _ in 0..2 {
        let fault = bench.add(&token).await.unwrap_err();
        assert_eq!(fault.class(), Class::Ambiguous);
    }
}
