//! Every command as a user runs it: the real binary, against a sandbox over HTTP.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]

mod apply;
mod bad_input;
mod connection;
mod edit;
mod harness;
mod init;
mod secret;
