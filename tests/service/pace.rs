//! F12: a tenant at its limit is driven at the limit, and not above.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::clock::{Clock, VirtualClock};
use keywheel::entra::{AppRef, Cloud, Entra, WriteLimit, WriteLimits};
use keywheel::sandbox::{NewApplication, Options, Rules, Sandbox};

use crate::world::start;

/// A hundredth of Graph's, so that the test is short.
const LIMITS: WriteLimits = WriteLimits {
    application: WriteLimit {
        writes: 100,
        window: Duration::from_secs(5),
    },
    tenant: WriteLimit {
        writes: 600,
        window: Duration::from_secs(10),
    },
};

#[tokio::test]
async fn f12_a_caller_at_its_limit_gets_95_percent_of_it_and_is_never_refused() {
    let clock = Arc::new(VirtualClock::new(start()));
    let sandbox = Sandbox::start(Options {
        clock: clock.clone(),
        rules: Rules {
            write_limits: Some(LIMITS),
            ..Rules::default()
        },
        ..Options::default()
    })
    .await
    .unwrap();
    let tenant = sandbox.add_tenant("Contoso");
    let end = start() + TimeDelta::days(30);
    let application = sandbox.add_application(NewApplication::rotating_itself(tenant, "app", end));
    let cloud = Cloud::new("lab", &sandbox.url(), &sandbox.url(), None).unwrap();
    let timeout = Duration::from_secs(5);
    let entra = Entra::with_limits(vec![cloud], timeout, clock.clone(), LIMITS);
    let app = AppRef {
        cloud: "lab".into(),
        tenant_id: tenant,
        client_id: application.client_id,
    };
    let token = entra.token(&app, &application.keys[0].value).await.unwrap();
    for n in 0..400 {
        let name = format!("n{n}");
        let added = entra.add_password(&token, application.object_id, &name, end);
        let key_id = added.await.unwrap().value.key_id;
        let removed = entra.remove_password(&token, application.object_id, key_id);
        removed.await.unwrap();
    }
    let seconds = (clock.now() - start()).as_seconds_f64();
    let share = 800.0 / (seconds * 20.0);
    assert!((0.95..=1.0).contains(&share), "{share}");
}
