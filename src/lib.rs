//! Keywheel rotates the client secrets of Microsoft Entra applications on a schedule, and never
//! loses one.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the command line: a file for each command |
//! | [`service`] | every connection on its schedule |
//! | [`view`] | a connection as it is shown |
//! | [`rotation`] | the engine: what comes next (pure), and the one who does it |
//! | [`notify`] | who is told what happens: a file for each channel |
//! | [`store`] | journals and sealed secrets, the master key, locks |
//! | [`destination`] | places that a new secret is delivered to |
//! | [`settings`] | `keywheel.toml` and what `apply` reads |
//! | [`journal`], [`connection`] | what is known of a connection, and what a user declared |
//! | [`entra`] | the token endpoint and Graph |
//! | [`sandbox`] | an Entra tenant that runs in the process |
//! | [`schedule`] | when the next rotation is due (pure) |
//! | [`clock`] | time as a parameter |
//! | [`secret_file`], [`text`] | what others wrote, read and shown with care |
//! | [`wording`] | phrases for people |
//! | [`process`], [`crash`] | what is told to the operating system; where crash tests end a run |
//!
//! Arrows run one way: what stands above knows what stands below, never the reverse.

pub mod cli;
pub mod clock;
pub mod connection;
pub mod crash;
pub mod destination;
pub mod entra;
pub mod journal;
pub mod notify;
pub mod process;
pub mod rotation;
pub mod sandbox;
pub mod schedule;
pub mod secret_file;
pub mod service;
pub mod settings;
pub mod store;
pub mod text;
pub mod view;
pub mod wording;
