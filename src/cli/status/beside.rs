//! What `status` tells that is in no journal: the master key, and who is at work.

use chrono::{DateTime, TimeDelta, Utc};

use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use super::super::rotate::PATIENCE;
use super::super::view::ConnectionView;
use crate::journal::Journal;
use crate::settings::MasterKeySource;
use crate::store::{KeyFault, Keys, MasterKeyFault};

/// Says so where the master key is not the store's: every rotation will fail of it.
pub(super) async fn master_key(context: &Context) -> Exit {
    let Ok(store) = context.store.fingerprint().await else {
        return Exit::Done;
    };
    let source = &context.settings.master_key;
    let Err(fault) = Keys::load(source.clone(), store) else {
        return Exit::Done;
    };
    // What the service is given is not given to every shell.
    let elsewhere = !matches!(source, MasterKeySource::File(_));
    if elsewhere && matches!(fault, MasterKeyFault::Missing { .. }) {
        let note = format!("{fault}, as far as this shell can tell");
        context.output.note(&note);
        return Exit::Done;
    }
    let complaint = Complaint::from(KeyFault::master_key(fault, source, Some(store)));
    let exit = complaint.exit;
    context.output.warn(&Complaint {
        message: format!("{}, so that every rotation will fail", complaint.message),
        ..complaint
    });
    exit
}

/// Of what is to be done about now: whether another process does it, and how it goes on where
/// none does.
pub(super) async fn at_work(
    context: &Context,
    journal: &Journal,
    view: &ConnectionView,
    now: DateTime<Utc>,
) -> Option<String> {
    let next = view.next_action.as_ref()?;
    // A pass sits through waits of this length. Nobody's lock is tried for longer ones: whoever
    // asks at that moment would be told that the application is busy.
    let patience = TimeDelta::from_std(PATIENCE).unwrap_or(TimeDelta::MAX);
    if next.at > now + patience {
        return None;
    }
    let declared = &journal.declared;
    let application = (declared.tenant_id, declared.client_id);
    if let Ok(None) = context.store.try_lock(journal.id, application).await {
        return Some("under way in another process".to_owned());
    }
    if next.at > now {
        return None;
    }
    Some(if journal.unpromoted().is_some() {
        format!(
            "interrupted or not begun: `keywheel rotate {}` goes on",
            view.name
        )
    } else {
        format!("{}: due, with `keywheel rotate --due`", next.what)
    })
}
