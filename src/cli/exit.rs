//! Exit codes, and what is said when a command ends otherwise than well.

use serde::Serialize;

use crate::rotation::AdvanceFault;
use crate::rotation::adopt::AdoptFault;
use crate::store::{KeyFault, StoreFault};

/// How a command ended. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, nothing to do, or in overlap.
    Done,
    /// It failed.
    Failed,
    /// Usage or settings.
    Usage,
    /// A retry is scheduled.
    RetryScheduled,
    /// The report's `--fail-on` was reached.
    Reached,
    /// Another process is rotating it.
    Busy,
    /// A person must act.
    PersonMustAct,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::RetryScheduled => 3,
            Self::Reached => 4,
            Self::Busy => 5,
            Self::PersonMustAct => 6,
        }
    }

    /// Where several apply: 2, 1, 6, 5, 4, 3.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Usage => 6,
            Self::Failed => 5,
            Self::PersonMustAct => 4,
            Self::Busy => 3,
            Self::Reached => 2,
            Self::RetryScheduled => 1,
            Self::Done => 0,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

/// Why a command did not do what it was asked: what happened, to whom, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Stable, for scripts, in kebab-case.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
    /// The exit code.
    pub exit: Exit,
}

/// The form of an error on stdout with `-o json`.
#[derive(Debug, Serialize)]
pub struct ErrorDocument {
    /// The only field.
    pub error: ErrorBody,
}

/// See [`ErrorDocument`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// Stable, for scripts.
    pub code: String,
    /// For people; the remedy included.
    pub message: String,
}

impl Complaint {
    /// Something that the user has to write otherwise.
    pub fn usage(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            remedy: None,
            exit: Exit::Usage,
        }
    }

    /// Something that failed.
    pub fn failed(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            remedy: None,
            exit: Exit::Failed,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// As `-o json` prints it.
    pub fn document(&self) -> ErrorDocument {
        let message = match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.message),
            None => self.message.clone(),
        };
        ErrorDocument {
            error: ErrorBody {
                code: self.code.clone(),
                message,
            },
        }
    }
}

impl From<StoreFault> for Complaint {
    fn from(fault: StoreFault) -> Self {
        let (code, exit) = match &fault {
            StoreFault::Missing { .. } => ("no-store", Exit::Usage),
            StoreFault::Taken { .. } => ("taken", Exit::Usage),
            StoreFault::Immutable { .. } => ("immutable", Exit::Usage),
            StoreFault::Exposed { .. } => ("store-exposed", Exit::Usage),
            StoreFault::Newer { .. } => ("store-newer", Exit::Failed),
            StoreFault::Damaged { .. } => ("store-damaged", Exit::Failed),
            StoreFault::Busy => ("store-busy", Exit::Failed),
            _ => ("store", Exit::Failed),
        };
        let remedy = matches!(fault, StoreFault::Io { .. }).then(|| {
            "mend that (free space, or let it be written), then run the same command: what was \
             made is safe"
                .to_owned()
        });
        Self {
            code: code.into(),
            message: fault.to_string(),
            remedy,
            exit,
        }
    }
}

impl From<KeyFault> for Complaint {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Store(fault) => fault.into(),
            KeyFault::MasterKey { fault, remedy } => Self {
                remedy,
                ..Self::usage("master-key", fault.to_string())
            },
            KeyFault::Value { .. } => Self::failed("sealed-value", fault.to_string()).remedy(
                "restore the database from a backup, or give the secret anew with `keywheel \
                 connection edit NAME --secret-file FILE`",
            ),
        }
    }
}

impl From<AdvanceFault> for Complaint {
    fn from(fault: AdvanceFault) -> Self {
        match fault {
            AdvanceFault::Store(fault) => fault.into(),
            AdvanceFault::Keys(fault) => fault.into(),
            AdvanceFault::Interrupted => Self {
                exit: Exit::RetryScheduled,
                ..Self::failed("interrupted", fault.to_string())
            },
            AdvanceFault::Unknown { .. } => Self::usage("no-such-connection", fault.to_string()),
            AdvanceFault::Settings { .. } => Self::usage("settings", fault.to_string()),
            AdvanceFault::NotKept { .. } => Self::failed("not-kept", fault.to_string()),
            AdvanceFault::NotYet {
                code,
                ref message,
                remedy,
            } => Self {
                code: code.into(),
                message: message.clone(),
                remedy: Some(remedy.into()),
                exit: Exit::RetryScheduled,
            },
            AdvanceFault::Refused {
                code,
                ref message,
                person,
            } => Self {
                code: code.into(),
                message: message.clone(),
                remedy: None,
                exit: if person {
                    Exit::PersonMustAct
                } else {
                    Exit::Failed
                },
            },
        }
    }
}

impl From<AdoptFault> for Complaint {
    fn from(fault: AdoptFault) -> Self {
        match fault {
            AdoptFault::Check {
                code,
                message,
                remedy,
                ..
            } => Self {
                // What was declared is at odds with other declarations: nothing was called.
                exit: match code.as_str() {
                    "place-taken" | "identity-would-be-cut-off" => Exit::Usage,
                    _ => Exit::Failed,
                },
                code,
                message,
                remedy,
            },
            AdoptFault::Engine(fault) => fault.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_exit_codes_the_gravest_counts() {
        let by_gravity = [
            Exit::Usage,
            Exit::Failed,
            Exit::PersonMustAct,
            Exit::Busy,
            Exit::Reached,
            Exit::RetryScheduled,
            Exit::Done,
        ];
        for (i, grave) in by_gravity.iter().enumerate() {
            for light in &by_gravity[i..] {
                assert_eq!(grave.or(*light), *grave);
                assert_eq!(light.or(*grave), *grave);
            }
        }
        assert_eq!(by_gravity.map(Exit::code), [2, 1, 6, 5, 4, 3, 0]);
    }
}
