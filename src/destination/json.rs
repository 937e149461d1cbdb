//! One key of a JSON document that others also write: the rest stays as it is, byte for byte.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Where something stands in a document: the keys from the outermost inwards. One that was read
/// has at least one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

/// Why a document can't take the secret. No text of the document is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonFault {
    /// `key` is empty or has a `~` that escapes nothing.
    #[error(
        "the key is neither a plain name nor a JSON pointer such as /azure/secret (~0 is ~, ~1 is /)"
    )]
    Pointer,
    /// Bytes that are no UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// A syntax error.
    #[error("it is not JSON: line {line}, column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Parsers differ over which one counts.
    #[error("the key {pointer} stands in it twice")]
    Twice {
        /// The key.
        pointer: Pointer,
    },
    /// Something on the way is a text or a number.
    #[error("{pointer} is no object, so nothing can stand inside it")]
    NoObject {
        /// What is on the way.
        pointer: Pointer,
    },
    /// A list has no such element, and none is added.
    #[error("{pointer} is no element of its list")]
    NoElement {
        /// The element.
        pointer: Pointer,
    },
    /// What others wrote there would be lost.
    #[error("{pointer} holds an object or a list, which the secret would replace")]
    Occupied {
        /// The key.
        pointer: Pointer,
    },
}

impl FromStr for Pointer {
    type Err = JsonFault;

    fn from_str(text: &str) -> Result<Self, JsonFault> {
        match text.strip_prefix('/') {
            Some(rest) => rest.split('/').map(unescape).collect::<Result<_, _>>(),
            None if text.is_empty() => Err(JsonFault::Pointer),
            None => Ok(vec![text.to_owned()]),
        }
        .map(Self)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the document");
        }
        self.0
            .iter()
            .try_for_each(|key| write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")))
    }
}

/// `existing` with `value` under `pointer`; a key that is missing is made, and so is the document.
pub(super) fn splice(
    existing: Option<&[u8]>,
    pointer: &Pointer,
    value: &str,
) -> Result<Zeroizing<String>, JsonFault> {
    let (mark, text) = split_mark(existing.unwrap_or_default())?;
    if text.trim().is_empty() {
        let document = nested(&pointer.0, value)?;
        return Ok(concat(&[mark, &document, "\n"]));
    }
    match locate(text, pointer)? {
        Spot::Value(old) => {
            let new = quoted(value)?;
            Ok(concat(&[mark, &text[..old.start], &new, &text[old.end..]]))
        }
        Spot::Missing(object, depth) => {
            let (at, style) = after_last_member(text, &object)?;
            let key = quoted(&pointer.0[depth])?;
            let value = nested(&pointer.0[depth + 1..], value)?;
            let [comma, lead, gap] = style;
            let (before, after) = text.split_at(at);
            Ok(concat(&[
                mark, before, comma, lead, &key, ":", gap, &value, after,
            ]))
        }
    }
}

/// The text under `pointer`; `None` where there is none.
pub(super) fn read_back(existing: &[u8], pointer: &Pointer) -> Option<Zeroizing<String>> {
    let (_, text) = split_mark(existing).ok()?;
    match locate(text, pointer).ok()? {
        Spot::Value(range) => serde_json::from_str(&text[range]).ok().map(Zeroizing::new),
        Spot::Missing(..) => None,
    }
}

/// Where a pointer leads to in a document.
enum Spot {
    /// The bytes of the value.
    Value(Range<usize>),
    /// The bytes of the innermost object that is there, and the index of the key it lacks.
    Missing(Range<usize>, usize),
}

fn locate(text: &str, pointer: &Pointer) -> Result<Spot, JsonFault> {
    let mut here = range_within(text, parse::<&RawValue>(text)?.get());
    for (depth, key) in pointer.0.iter().enumerate() {
        let part = &text[here.clone()];
        let reached = || Pointer(pointer.0[..=depth].to_vec());
        here = match part.as_bytes().first() {
            Some(b'{') => {
                let Members(members) = parse(part)?;
                let mut matching = members.iter().filter(|(name, _)| name == key);
                match (matching.next(), matching.next()) {
                    (None, _) => return Ok(Spot::Missing(here, depth)),
                    (Some(_), Some(_)) => return Err(JsonFault::Twice { pointer: reached() }),
                    (Some((_, value)), None) => range_within(text, value.get()),
                }
            }
            Some(b'[') => {
                let elements: Vec<&RawValue> = parse(part)?;
                let element = index(key).and_then(|index| elements.get(index));
                let element = element.ok_or_else(|| JsonFault::NoElement { pointer: reached() })?;
                range_within(text, element.get())
            }
            _ => {
                let pointer = Pointer(pointer.0[..depth].to_vec());
                return Err(JsonFault::NoObject { pointer });
            }
        };
    }
    match text.as_bytes().get(here.start) {
        Some(b'{' | b'[') => Err(JsonFault::Occupied {
            pointer: pointer.clone(),
        }),
        _ => Ok(Spot::Value(here)),
    }
}

/// Where a further member goes, and the comma and the white space that the last one has before
/// its key and after its colon.
fn after_last_member<'a>(
    text: &'a str,
    object: &Range<usize>,
) -> Result<(usize, [&'a str; 3]), JsonFault> {
    let Members(members) = parse(&text[object.clone()])?;
    let mut values = members
        .iter()
        .rev()
        .map(|(_, value)| range_within(text, value.get()));
    let Some(last) = values.next() else {
        return Ok((object.start + 1, ["", "", " "]));
    };
    let before = match values.next() {
        Some(previous) => text[previous.end..last.start]
            .trim_start()
            .trim_start_matches(','),
        None => &text[object.start + 1..last.start],
    };
    let lead = &before[..before.len() - before.trim_start().len()];
    let gap = &before[before.trim_end().len()..];
    let lead = if lead.is_empty() { gap } else { lead };
    Ok((last.end, [",", lead, gap]))
}

/// `value` inside an object for each of `keys`.
fn nested(keys: &[String], value: &str) -> Result<Zeroizing<String>, JsonFault> {
    keys.iter().rev().try_fold(quoted(value)?, |inner, key| {
        Ok(concat(&["{", &quoted(key)?, ": ", &inner, "}"]))
    })
}

fn quoted(text: &str) -> Result<Zeroizing<String>, JsonFault> {
    serde_json::to_string(text)
        .map(Zeroizing::new)
        .map_err(|error| syntax(&error))
}

/// Joined without growing, so that no copy of a secret stays behind.
fn concat(parts: &[&str]) -> Zeroizing<String> {
    Zeroizing::new(parts.concat())
}

/// The byte order mark, if any, and the text after it.
fn split_mark(bytes: &[u8]) -> Result<(&str, &str), JsonFault> {
    let text = str::from_utf8(bytes).map_err(|_| JsonFault::NotText)?;
    let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok((&text[..text.len() - rest.len()], rest))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonFault> {
    serde_json::from_str(text).map_err(|error| syntax(&error))
}

/// Only the position: the parser's own words may quote the document.
fn syntax(error: &serde_json::Error) -> JsonFault {
    JsonFault::Syntax {
        line: error.line(),
        column: error.column(),
    }
}

/// Where `part`, a slice of `text`, stands in it.
fn range_within(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// RFC 6901: digits without leading zeros.
fn index(key: &str) -> Option<usize> {
    let digits = key.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (key == "0" || !key.starts_with('0'));
    canonical.then(|| key.parse().ok()).flatten()
}

fn unescape(token: &str) -> Result<String, JsonFault> {
    let well_formed = token
        .split('~')
        .skip(1)
        .all(|rest| rest.starts_with(['0', '1']));
    if well_formed {
        Ok(token.replace("~1", "/").replace("~0", "~"))
    } else {
        Err(JsonFault::Pointer)
    }
}

/// The members of an object in their order, those of the same name included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests;
