//! Keywheel rotates the client secrets of Microsoft Entra applications on a schedule, and never
//! loses one.
//!
//! Arrows run one way: what stands above knows what stands below, never the reverse.

pub mod cli;
pub mod clock;
pub mod connection;
pub mod crash;
pub mod destination;
pub mod entra;
pub mod journal;
pub mod process;
pub mod rotation;
pub mod sandbox;
pub mod schedule;
pub mod secret_file;
pub mod settings;
pub mod store;
pub mod text;
pub mod wording;
