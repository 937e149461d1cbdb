//! Where the crash tests end the process: named points beside every durable step.
//!
//! In a debug build, `KEYWHEEL_CRASH_AT=N` ends the process with SIGKILL at the N-th point that it
//! comes to, whichever that is; a test counts N up until the process reaches its end. A release
//! build holds nothing of it.

/// A place where the process may be ended, just before or after a step that outlives it.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// A place where the process may be ended, just before or after a step that outlives it.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CRASH_AT: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("KEYWHEEL_CRASH_AT").ok()?.parse().ok());
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let Some(crash_at) = *CRASH_AT else { return };
    if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == crash_at {
        tracing::warn!(point = name, "ended by KEYWHEEL_CRASH_AT");
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
