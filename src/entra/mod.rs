//! Microsoft Entra and Microsoft Graph, as far as Keywheel talks to them.

pub mod id;

pub use id::{ClientId, KeyId, NotAGuid, ObjectId, TenantId};
