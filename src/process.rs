//! What the process as a whole gives up before it holds its first secret.

use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Turns core dumps off for this process and its children, and keeps other processes of the same
/// user from reading its memory (P6).
///
/// The kernel then also gives `/proc/self/fd` to root, so that a path such as `/dev/stdin` can't
/// be opened by anyone else any more; standard input itself is not affected.
///
/// # Errors
///
/// Where the system refuses it; the caller decides whether that is worth stopping for.
pub fn forbid_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}
