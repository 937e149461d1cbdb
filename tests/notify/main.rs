//! Notifications: what is told, by which channel, and that nothing is lost on the way.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod cards;
mod command;
mod fixture;
mod mail;
mod post;
mod queue;
mod receiver;
mod settings;
mod smtp;
mod story;
#[allow(dead_code, reason = "the tests of rotations use the rest of it")]
#[path = "../rotation/world.rs"]
mod world;
