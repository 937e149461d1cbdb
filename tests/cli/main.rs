//! The commands as a user runs them: the binary itself, against a sandbox in the test's process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a panic is the message"
)]

mod deliver;
mod history;
mod lab;
mod master_key;
mod orphans;
mod revoke;
mod schedule;
mod status;
