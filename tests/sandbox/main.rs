//! The sandbox behaves on the line as Entra does.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod faults;
mod lag;
mod offer;
mod support;
mod wire;
