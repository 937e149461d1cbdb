//! The store, sealing, the master key and the locks, as the layers above use them.
#![expect(clippy::unwrap_used, reason = "in tests a panic is the message")]

mod backup;
mod chain;
mod faults;
mod fixture;
mod journal;
mod locks;
mod master_key;
mod records;
mod wiping;
