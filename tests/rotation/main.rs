//! Rotations against the sandbox over HTTP, on a virtual clock.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod straight;
mod world;
