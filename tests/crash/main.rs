//! The real binary is ended with SIGKILL at every point of what it does, and run again (D2, G2,
//! D4): it converges, and what the consumers hold signs in all along.
//!
//! Two ways lead to a kill: `KEYWHEEL_CRASH_AT=N` ends the process at the N-th point beside an
//! HTTP call or a commit, and the sandbox ends it while one of its requests is under way.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]
#![cfg(debug_assertions)] // a release build has no crash points

mod by_hand;
mod converged;
mod outside;
mod points;
mod rotation;
mod world;
