//! Rotations against the sandbox over HTTP, on a virtual clock.

#![allow(missing_docs, unreachable_pub, reason = "tests document themselves")]

mod by_hand;
mod c_adopting;
mod d_storage;
mod e_revoking;
mod g_locks;
mod h_destinations;
mod straight;
mod world;
