//! What must not be found, in all the forms in which it could be written.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// So much of a form is enough to be found; what Graph shows of a secret, its hint, is shorter.
const PART: usize = 16;

/// Values that are looked for.
#[derive(Debug, Default)]
pub struct Canaries {
    known: HashSet<Vec<u8>>,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    what: String,
    bytes: Vec<u8>,
}

impl Canaries {
    /// From now on `value` is looked for; `what` it is, in the complaint.
    pub fn add(&mut self, what: &str, value: &[u8]) {
        if !self.known.insert(value.to_vec()) {
            return;
        }
        for (form, bytes) in forms(value) {
            for part in [&bytes[..PART], &bytes[bytes.len() - PART..]] {
                self.patterns.push(Pattern {
                    what: format!("{what}, {form}"),
                    bytes: part.to_vec(),
                });
            }
        }
    }

    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// What is found in `text`, and what stands around it.
    pub fn found_in(&self, text: &[u8]) -> Option<String> {
        // Two bytes tell almost every place from the start of a pattern.
        let mut starts = vec![false; 1 << 16];
        for pattern in &self.patterns {
            starts[start(&pattern.bytes)] = true;
        }
        text.windows(PART).enumerate().find_map(|(at, window)| {
            if !starts[start(window)] {
                return None;
            }
            let pattern = self.patterns.iter().find(|p| p.bytes == window)?;
            let around = &text[at.saturating_sub(120)..(at + PART).min(text.len())];
            let around = String::from_utf8_lossy(around);
            Some(format!("{}, after {around:?}", pattern.what))
        })
    }
}

fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// The ways to write a value that are at least [`PART`] long.
fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("as it is", value.to_vec()),
        (
            "percent-encoded",
            percent_encode(value, NON_ALPHANUMERIC).to_string().into(),
        ),
        (
            "form-encoded",
            form_urlencoded::byte_serialize(value)
                .collect::<String>()
                .into(),
        ),
        ("in hexadecimal", hexadecimal(value).into()),
    ];
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::to_string(text).unwrap();
        forms.push(("in JSON", json.trim_matches('"').into()));
    }
    // Inside of a longer text it may begin at any place of a group of three.
    for skip in 0..3 {
        let whole = &value[skip..value.len() - (value.len() - skip) % 3];
        forms.push(("in base64", STANDARD.encode(whole).into()));
        forms.push(("in base64url", URL_SAFE_NO_PAD.encode(whole).into()));
    }
    forms.retain(|(_, bytes)| bytes.len() >= PART);
    forms
}

fn hexadecimal(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn p6_every_form_of_a_canary_is_found() {
    let value = b"abc8Q~\"x'&%+=$ \\y-._0123456789abcdefghij";
    let mut canaries = Canaries::default();
    canaries.add("a secret", value);
    for (form, bytes) in forms(value) {
        let text = [b"before ".as_slice(), &bytes, b" after"].concat();
        assert!(canaries.found_in(&text).is_some(), "{form}");
        let cut = &text[..7 + PART];
        assert!(canaries.found_in(cut).is_some(), "{form}, cut");
    }
    for before in 0..3 {
        let text = [&b"\n{ "[..before], value, b"}"].concat();
        let text = STANDARD.encode(text);
        assert!(canaries.found_in(text.as_bytes()).is_some(), "{before}");
    }
    assert!(canaries.found_in(b"abc, the hint, and no more").is_none());
}
