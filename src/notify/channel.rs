//! What a channel is, and what can be wrong with one.

use std::time::Duration;

use async_trait::async_trait;

use super::message::Message;
use crate::secret_file::SecretFault;

/// For one message, from connecting to the last byte of the answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A way to somebody. It holds nothing back: what it could not send, it says.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends one message, once.
    ///
    /// # Errors
    ///
    /// Where it is not certain that it was taken: it is sent again, with the same ID.
    async fn send(&self, message: &Message) -> Result<(), ChannelFault>;
}

/// Why a message was not taken. No text of it holds an address, a password or what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelFault {
    /// A file that it needs is not as it should be.
    #[error("{0}")]
    File(#[from] SecretFault),
    /// It can't be used as it is set up.
    #[error("it can't be used: {detail}")]
    Unusable {
        /// What is wrong, and what to do.
        detail: String,
    },
    /// No connection, or it died.
    #[error("it can't be reached: {detail}")]
    Unreachable {
        /// Why.
        detail: String,
    },
    /// It did not answer in time.
    #[error("it took too long")]
    TimedOut,
    /// It answered otherwise than with yes.
    #[error("it answered {status}{}", with_word(word.as_ref()))]
    Answered {
        /// HTTP's or SMTP's number.
        status: u16,
        /// Its own word for it.
        word: Option<String>,
        /// How long it wants to be left alone.
        wait: Option<Duration>,
        /// Whether it is this message that it does not take.
        of_message: bool,
    },
    /// An answer that such a channel does not give.
    #[error("its answer is none that such a channel gives; is a proxy or portal in between?")]
    Nonsense,
}

impl ChannelFault {
    /// Whether others may be taken where this one is not.
    pub fn is_of_message(&self) -> bool {
        matches!(
            self,
            Self::Answered {
                of_message: true,
                ..
            }
        )
    }

    /// How long the channel wants to be left alone.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Answered { wait, .. } => *wait,
            _ => None,
        }
    }
}

fn with_word(word: Option<&String>) -> String {
    word.map_or_else(String::new, |word| format!(" ({word})"))
}
