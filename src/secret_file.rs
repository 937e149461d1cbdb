//! Reading a client secret that somebody put into a file or typed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::text::shown_path;

/// Entra's secrets have 40 characters; nothing that is longer than this is one.
const LONGEST: u64 = 1024;

/// Why a text is not taken for a client secret. It never repeats the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// Nothing was given.
    #[error("the secret is empty; give the value that was shown once when it was made")]
    Empty,
    /// More than one line.
    #[error("the secret has a line break in its middle; give the value alone, on one line")]
    LineBreak,
    /// Not text, or with control characters.
    #[error("the secret holds characters that no secret has; give the value alone, as text")]
    NotText,
    /// Longer than any secret.
    #[error("the secret is longer than {LONGEST} characters; give the value alone")]
    TooLong,
    /// The Secret ID was pasted.
    #[error("that is a Key ID (\"Secret ID\" in the portal), not a secret; give the \"Value\"")]
    KeyId,
    /// There is no such file.
    #[error(
        "there is no secret file {}; mend the path, or put the secret's value there with mode 0600",
        shown_path(path)
    )]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// It is a folder.
    #[error(
        "the secret file {} is a folder; name the file in it that holds the secret",
        shown_path(path)
    )]
    Folder {
        /// Which.
        path: PathBuf,
    },
    /// The file can't be read.
    #[error(
        "the secret file {} can't be read: {reason}; let the user that runs this read it",
        shown_path(path)
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Others can read the file.
    #[error(
        "others can read the secret file {0}; run: chmod 600 {0}",
        shown_path(path)
    )]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// What the file holds is not a secret.
    #[error("in {}: {fault}", shown_path(path))]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        fault: Box<SecretFault>,
    },
}

/// Reads a secret from a file that only its owner and its group can read.
pub fn read(path: &Path) -> Result<SecretString, SecretFault> {
    let unreadable = |error: std::io::Error| {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::NotFound => SecretFault::Missing { path },
            _ => SecretFault::Unreadable {
                path,
                reason: error.to_string(),
            },
        }
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(SecretFault::Folder {
            path: path.to_owned(),
        });
    }
    // A pipe, such as <(…) of a shell, has an owner and nobody else at its other end.
    if metadata.is_file() && metadata.permissions().mode() & 0o007 != 0 {
        return Err(SecretFault::Exposed {
            path: path.to_owned(),
        });
    }
    if metadata.is_file() && metadata.size() > LONGEST + 2 {
        return Err(content(path, SecretFault::TooLong));
    }
    read_from(&mut file).map_err(|fault| content(path, fault))
}

/// Reads a secret from what is left of `input`, such as standard input.
pub fn read_from(input: &mut impl Read) -> Result<SecretString, SecretFault> {
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 3));
    let read = input.take(LONGEST + 3).read_to_end(&mut text);
    if read.is_err() {
        return Err(SecretFault::NotText);
    }
    let text = std::str::from_utf8(&text).map_err(|_| SecretFault::NotText)?;
    parse(text)
}

/// One line, without the line break at its end.
pub fn parse(text: &str) -> Result<SecretString, SecretFault> {
    let line = text
        .strip_suffix('\n')
        .map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.trim().is_empty() {
        return Err(SecretFault::Empty);
    }
    if line.contains(['\n', '\r']) {
        return Err(SecretFault::LineBreak);
    }
    if line.chars().any(char::is_control) {
        return Err(SecretFault::NotText);
    }
    if line.len() as u64 > LONGEST {
        return Err(SecretFault::TooLong);
    }
    if line.len() == 36 && Uuid::try_parse(line).is_ok() {
        return Err(SecretFault::KeyId);
    }
    Ok(SecretString::from(line))
}

fn content(path: &Path, fault: SecretFault) -> SecretFault {
    SecretFault::Content {
        path: path.to_owned(),
        fault: Box::new(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn one_line_break_at_the_end_is_lost_and_nothing_else() {
        for (text, secret) in [
            ("a~b", "a~b"),
            ("a b\n", "a b"),
            ("ab\r\n", "ab"),
            (" ab ", " ab "),
            ("ü€", "ü€"),
        ] {
            assert_eq!(parse(text).unwrap().expose_secret(), secret);
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_by_name() {
        let long = "x".repeat(2000);
        let guid = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        for (text, fault) in [
            ("", SecretFault::Empty),
            ("\n", SecretFault::Empty),
            ("a\nb", SecretFault::LineBreak),
            ("a\n\n", SecretFault::LineBreak),
            ("a\x1bb", SecretFault::NotText),
            (long.as_str(), SecretFault::TooLong),
            (guid, SecretFault::KeyId),
        ] {
            assert_eq!(parse(text).unwrap_err(), fault);
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "value\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            read(&path).unwrap_err(),
            SecretFault::Exposed { path: path.clone() }
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read(&path).unwrap().expose_secret(), "value");
    }
}
