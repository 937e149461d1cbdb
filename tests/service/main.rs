//! The service: what is due, at the pace that is allowed, for a year and through every trouble.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a panic is the message"
)]
#![allow(missing_docs, reason = "nobody reads the documentation of a test")]

mod host;
mod listener;
mod network;
mod pace;
mod process;
mod reconcile;
mod work;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../rotation/world.rs"]
mod world;
mod year;
