//! Microsoft Entra and Microsoft Graph, as far as Keywheel talks to them.

mod application;
mod calls;
mod cloud;
mod date;
mod endpoint;
mod fault;
mod graph;
pub mod id;
mod pace;
mod permission;
mod throttle;
mod token;
mod wire;

use chrono::{DateTime, Utc};

pub use application::{Application, Minted, Password};
pub use calls::Calls;
pub use cloud::{Cloud, CloudFault};
pub use fault::{Class, Fault, FaultKind, Nonsense, Operation};
pub use id::{ClientId, KeyId, NotAGuid, ObjectId, TenantId};
pub use pace::{WriteLimit, WriteLimits};
pub use permission::MayWrite;
pub use token::{AppRef, Proof, Token};
pub use wire::Entra;

/// What a call brought, and what the record of it needs.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// The server's own time, from the `Date` header.
    pub date: Option<DateTime<Utc>>,
    /// The ID that the call was sent with, for Microsoft's support.
    pub client_request_id: String,
}
