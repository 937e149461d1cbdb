//! Rotations against the sandbox over HTTP, on a virtual clock.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod straight;
mod world;
