//! The values of a whole run are searched for in everything that the binary leaves or says, at
//! the most talkative level: they are nowhere but where they belong (P6, I1).

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod canaries;
mod story;
mod world;
