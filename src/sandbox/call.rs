//! What is noted about each call.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::entra::ClientId;

/// The kinds of calls, as faults and the call log tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A token is asked for.
    Token,
    /// A discovery document of the sign-in service.
    Discovery,
    /// One page of applications, filtered or not.
    ListApplications,
    /// One application.
    GetApplication,
    /// The owners of an application.
    ListOwners,
    /// One page of service principals, filtered or not.
    ListServicePrincipals,
    /// One service principal.
    GetServicePrincipal,
    /// A secret is added, to an application or a service principal.
    AddPassword,
    /// A secret is removed, from an application or a service principal.
    RemovePassword,
    /// Anything else.
    Other,
}

/// One call, as the log keeps it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counts up from 1 over the sandbox's life.
    pub number: u64,
    /// What was asked for.
    pub kind: Kind,
    /// The application that is read, changed or signed in; `None` where the call is about several
    /// or none.
    pub client_id: Option<ClientId>,
    /// The application whose token came with the call.
    pub caller: Option<ClientId>,
    /// When it arrived, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// Set by the sandbox, also in the answer.
    pub request_id: Uuid,
    /// Set by the caller.
    pub client_request_id: Option<String>,
    /// The status of the answer; `None` until it is given, and where the line was dropped.
    pub status: Option<u16>,
    /// Each TCP connection that is accepted has a number, from 1 up.
    pub connection: u64,
    /// Whether it is the first call on its connection.
    pub new_connection: bool,
}
