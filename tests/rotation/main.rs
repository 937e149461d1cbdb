//! Rotations against the sandbox over HTTP, on a virtual clock.

#![allow(missing_docs, unreachable_pub, reason = "tests document themselves")]

mod a_propagation;
mod b_adding;
mod g_processes;
mod i_output;
mod j_networks;
mod k_orphans;
mod straight;
mod world;
