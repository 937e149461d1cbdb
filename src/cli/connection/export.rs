//! `connection export`: what `apply` reads.

use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use crate::connection::{ConnectionName, Declared};
use crate::settings::declare;

pub(super) async fn run(context: &Context, names: &[ConnectionName]) -> Result<Exit, Complaint> {
    let mut chosen: Vec<Declared> = Vec::new();
    for name in names {
        chosen.push(context.connection(name).await?.declared);
    }
    if names.is_empty() {
        let journals = context.store.journals().await?.into_iter();
        let kept = journals.filter(|journal| journal.removed_at.is_none());
        chosen = kept.map(|journal| journal.declared).collect();
    }
    let text =
        declare::export(&chosen).map_err(|error| Complaint::failed("export", error.to_string()))?;
    context.output.data(&chosen, || text.trim_end().to_owned());
    Ok(Exit::Done)
}
