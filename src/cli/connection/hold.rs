//! `connection pause` and `connection resume`

use std::sync::Arc;

use super::super::context::Context;
use super::super::exit::{Complaint, Exit};
use super::super::progress::Progress;
use super::super::rotate::{PATIENCE, busy};
use super::super::view;
use super::list;
use crate::connection::ConnectionName;
use crate::rotation::advance::{Order, Stop};
use crate::rotation::observe::Unobserved;

pub(super) async fn pause(context: &Context, name: &ConnectionName) -> Result<Exit, Complaint> {
    context.connection(name).await?;
    let engine = context.engine(Arc::new(Unobserved)).await?;
    let paused = engine.pause(name).await?;
    paused.ok_or_else(|| busy(name))?;
    context.output.note(&format!(
        "paused {name}: no rotation and no revocation until `keywheel connection resume {name}`; \
         its secret expires all the same"
    ));
    show(context, name).await?;
    Ok(Exit::Done)
}

pub(super) async fn resume(context: &Context, name: &ConnectionName) -> Result<Exit, Complaint> {
    context.connection(name).await?;
    let engine = context.engine(Arc::new(Progress::new(1))).await?;
    let resumed = engine.resume(name).await?;
    resumed.ok_or_else(|| busy(name))?;
    context.output.note(&format!("{name} goes on"));
    // What was blocked is tried again now, not only when the service comes round.
    let stopped = engine.advance(name, Order::resume(PATIENCE)).await?;
    if stopped == Stop::Busy {
        return Err(busy(name));
    }
    show(context, name).await?;
    Ok(view::exit(&context.connection(name).await?))
}

async fn show(context: &Context, name: &ConnectionName) -> Result<(), Complaint> {
    let journal = context.connection(name).await?;
    let view = view::view(&context.settings, &journal, context.clock.now())?;
    context.output.data(&view, || list::lines(&view));
    Ok(())
}
