//! A command that was run to its end, and what it left behind.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use keywheel::entra::KeyId;
use serde_json::Value;

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub line: String,
}

impl Run {
    /// Runs a command to its end, with this on its standard input.
    pub fn of(mut command: Command, input: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have ended before it has read anything.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            line: words.join(" "),
        }
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The code of the error in the document on standard output.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let document = self.json();
        assert!(document["error"]["message"].is_string(), "{document}");
        document["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Fails the test unless standard error says all of this.
    #[track_caller]
    pub fn says<const N: usize>(self, words: [&str; N]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "not said: {word}\n{self:#?}");
        }
        self
    }
}

/// The names of an object's fields, in their order.
pub fn fields(value: &Value) -> Vec<&str> {
    let object = value.as_object().unwrap();
    object.keys().map(String::as_str).collect()
}

/// A Key ID in a document.
pub fn key_id(value: &Value) -> KeyId {
    value.as_str().unwrap().parse().unwrap()
}
