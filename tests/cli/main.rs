//! Every command as a user runs it: the real binary, against a sandbox over HTTP.

mod apply;
mod bad_input;
mod connection;
mod edit;
mod harness;
mod init;
mod secret;
