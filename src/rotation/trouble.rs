//! What can go wrong in a step, and how it is written into the journal.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::retry::THROTTLED;
use crate::connection::ConnectionName;
use crate::destination::{self, DestinationFault};
use crate::entra::{Class, Fault};
use crate::journal::{Failure, Retry};
use crate::store::{KeyFault, StoreFault};

/// A "not found" that has lasted for so many tries is no propagation any more (B4).
const LASTING: u32 = 5;

/// Said of a new secret: the fault's own remedy is for one that a person gave.
const PROVING_GOES_ON: &str = "nothing: a new secret can take long to be known everywhere, and \
                               proving goes on";

/// Why a step could not be done. It is journalled, and the step is tried again.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Trouble {
    /// Entra or Graph said no, or nothing.
    #[error("{0}")]
    Entra(#[from] Fault),
    /// A new secret does not sign in yet. That is never permanent: `give_up` decides (A3).
    #[error("{0}")]
    Unproved(Fault),
    /// A destination did not take the secret.
    #[error("{0}")]
    Destination(#[from] DestinationFault),
    /// One of our own rules forbids it.
    #[error("{message}")]
    Rule {
        /// Stable, for scripts.
        code: &'static str,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
        /// Whether only a person can mend it.
        permanent: bool,
    },
}

impl Trouble {
    /// A rule that only a person can mend.
    pub(crate) fn rule(
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::forbidden(code, message.into(), remedy.into(), true)
    }

    /// A rule that may be kept at the next try.
    pub(crate) fn passing_rule(
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::forbidden(code, message.into(), remedy.into(), false)
    }

    fn forbidden(code: &'static str, message: String, remedy: String, permanent: bool) -> Self {
        Self::Rule {
            code,
            message,
            remedy,
            permanent,
        }
    }

    /// As the journal keeps it; `before` tells how lasting it is.
    pub(crate) fn failure(&self, at: DateTime<Utc>, before: &Retry) -> Failure {
        let (code, remedy, permanent) = match self {
            Self::Entra(fault) => {
                let (code, permanent) = match fault.class() {
                    Class::Permanent => (fault.code(), true),
                    Class::Propagation => {
                        let code = fault.code();
                        let lasting = lasts(before, &code);
                        (code, lasting)
                    }
                    Class::Throttled { .. } => (THROTTLED.to_owned(), false),
                    Class::Transient | Class::Concurrency | Class::Ambiguous => {
                        (fault.code(), false)
                    }
                };
                (code, fault.remedy(), permanent)
            }
            Self::Unproved(fault) => match fault.class() {
                Class::Permanent => (fault.code(), fault.remedy(), true),
                Class::Throttled { .. } => (THROTTLED.to_owned(), None, false),
                _ => (fault.code(), Some(PROVING_GOES_ON.to_owned()), false),
            },
            // Nobody who waits at a terminal should sit through a ladder for a folder that is
            // missing. A secret is renewed days before the old one ends, so that daily tries, and
            // hourly ones near that end, come in time.
            Self::Destination(fault) => (
                fault.code.to_owned(),
                Some(fault.remedy.clone()),
                destination::needs_a_person(fault.code),
            ),
            Self::Rule {
                code,
                remedy,
                permanent,
                ..
            } => ((*code).to_owned(), Some(remedy.clone()), *permanent),
        };
        Failure {
            at,
            code,
            message: self.to_string(),
            remedy,
            permanent,
        }
    }

    /// How long the server told us to wait.
    pub(crate) fn told(&self) -> Option<Duration> {
        match self.fault()?.class() {
            Class::Throttled { wait } => Some(wait),
            _ => None,
        }
    }

    /// Of the call that failed.
    pub(crate) fn client_request_id(&self) -> Option<String> {
        self.fault()?.client_request_id.clone()
    }

    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Entra(fault) | Self::Unproved(fault) => Some(fault),
            Self::Destination(_) | Self::Rule { .. } => None,
        }
    }
}

/// Whether the same has been said before, and the ladder has been climbed since.
fn lasts(before: &Retry, code: &str) -> bool {
    let same = before.last.as_ref().is_some_and(|last| last.code == code);
    same && before.failures >= LASTING
}

/// What stops a pass: nothing can be journalled, or nobody may.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceFault {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The master key, or a value that it does not open.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// The process is about to end: what is left is due at once.
    #[error("it was ended in the middle; what is left to do is taken up by the next run")]
    Interrupted,
    /// There is no such connection.
    #[error("there is no connection named {name}{}", nearest(.similar.as_ref()))]
    Unknown {
        /// What was asked for.
        name: ConnectionName,
        /// The nearest name that there is.
        similar: Option<ConnectionName>,
    },
    /// The settings no longer have what the connection needs.
    #[error("connection {connection}: {message}")]
    Settings {
        /// Whose.
        connection: ConnectionName,
        /// What is missing.
        message: String,
    },
    /// P1's last resort: the new secret could not be kept and was removed again.
    #[error(
        "the new secret of {connection} could not be committed for {seconds} s ({fault}); it was \
         {removed}, and the current one stays as it is"
    )]
    NotKept {
        /// Whose.
        connection: ConnectionName,
        /// How long it was tried.
        seconds: u64,
        /// Why it failed.
        fault: StoreFault,
        /// What became of it.
        removed: &'static str,
    },
    /// What was asked for can't be told to be safe yet, and may be at another try.
    #[error("{message}")]
    NotYet {
        /// Stable, for scripts.
        code: &'static str,
        /// Why.
        message: String,
        /// What to do.
        remedy: &'static str,
    },
    /// What was asked for can't be done as things stand.
    #[error("{message}")]
    Refused {
        /// Stable, for scripts.
        code: &'static str,
        /// Why.
        message: String,
        /// Whether a person must decide something first.
        person: bool,
    },
}

fn nearest(similar: Option<&ConnectionName>) -> String {
    similar
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

/// How a step ends when it does not succeed.
#[derive(Debug)]
pub(crate) enum Halt {
    /// To be journalled and tried again. Boxed: the success path should not carry its size.
    Trouble(Box<Trouble>),
    /// The pass ends.
    Fatal(AdvanceFault),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(Box::new(trouble))
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Trouble::from(fault).into()
    }
}

impl From<DestinationFault> for Halt {
    fn from(fault: DestinationFault) -> Self {
        Trouble::from(fault).into()
    }
}

impl From<StoreFault> for Halt {
    fn from(fault: StoreFault) -> Self {
        Self::Fatal(fault.into())
    }
}

impl From<KeyFault> for Halt {
    fn from(fault: KeyFault) -> Self {
        Self::Fatal(fault.into())
    }
}

impl From<AdvanceFault> for Halt {
    fn from(fault: AdvanceFault) -> Self {
        Self::Fatal(fault)
    }
}
