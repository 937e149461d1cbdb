//! Rotations against the sandbox over HTTP, on a virtual clock.

#![allow(missing_docs, unreachable_pub, reason = "tests document themselves")]

mod straight;
mod world;
