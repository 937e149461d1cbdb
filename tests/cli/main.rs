//! Every command as a user runs it: the real binary, against a sandbox over HTTP.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a panic is the message"
)]

mod apply;
mod backup;
mod bad_input;
mod connection;
mod deliver;
mod edit;
mod full_disk;
mod harness;
mod history;
mod init;
mod master_key;
mod orphans;
mod owner;
mod revoke;
mod schedule;
mod secret;
mod status;
mod terminal;
mod wording;
