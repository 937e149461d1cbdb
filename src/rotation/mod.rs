//! One rotation, from *intended* to *completed*.
//!
//! [`plan`] is pure: from the journal and the time it says what comes next. [`advance`] does it,
//! writes the journal, and asks again until it must wait. Daemon, one-shot and timer all call it.

pub mod abandoned;
pub mod adopt;
pub mod advance;
pub mod drift;
pub mod forecast;
pub mod observe;
pub mod plan;
pub mod retry;
pub mod standing;
pub mod stopping;
pub mod timetable;
mod trouble;
pub mod verify;

pub use trouble::AdvanceFault;
