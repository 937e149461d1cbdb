//! Rotations against the sandbox over HTTP, on a virtual clock.

#![allow(missing_docs, reason = "nobody reads the documentation of a test")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod a_propagation;
mod abandoned;
mod b_adding;
mod by_hand;
mod c_adopting;
mod d_drift;
mod d_storage;
mod e_revoking;
mod f_clock;
mod g_locks;
mod g_processes;
mod given_anew;
mod h_destinations;
mod i_forecast;
mod i_output;
mod j_networks;
mod k_orphans;
mod manage;
mod straight;
mod world;
