//! Points at which a test may end the process.

/// A named point on the way.
pub fn point(_name: &'static str) {}
